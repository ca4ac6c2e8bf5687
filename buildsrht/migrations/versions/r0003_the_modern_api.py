"""Accounts, the OAuth server, what happened to jobs, users' webhooks, and trees to build."""

from alembic import op

revision = "0003"
down_revision = "0002"
works_with = "0002"

# As before: constants for defaults, nothing to rewrite, and columns that the code of the last
# release does not miss.
CHANGES = """
ALTER TABLE "user"
    ADD COLUMN updated timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN email text,
    ADD COLUMN password text;
CREATE UNIQUE INDEX user_email ON "user" (lower(email));

CREATE TABLE identity (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    issuer text NOT NULL,
    subject text NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identity_user ON identity (user_id);

CREATE TABLE sign_in (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    expires timestamptz NOT NULL
);
CREATE INDEX sign_in_user ON sign_in (user_id);
CREATE INDEX sign_in_expiry ON sign_in (expires);

CREATE TABLE oauth_client (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    description text,
    url text,
    redirect_uris text[] NOT NULL,
    secret_hash bytea CHECK (length(secret_hash) = 32)
);
CREATE INDEX oauth_client_owner ON oauth_client (owner_id, id DESC);

CREATE TABLE oauth_grant (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    client_id integer REFERENCES oauth_client ON DELETE CASCADE,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    revoked timestamptz
);
CREATE INDEX oauth_grant_user ON oauth_grant (user_id, id DESC);
CREATE INDEX oauth_grant_client ON oauth_grant (client_id) WHERE client_id IS NOT NULL;

CREATE TABLE authorization_code (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    grant_id integer NOT NULL REFERENCES oauth_grant ON DELETE CASCADE,
    redirect_uri text NOT NULL,
    challenge text NOT NULL,
    expires timestamptz NOT NULL,
    used timestamptz
);
CREATE INDEX authorization_code_grant ON authorization_code (grant_id);
CREATE INDEX authorization_code_expiry ON authorization_code (expires);

CREATE TABLE device_code (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    user_code text NOT NULL UNIQUE,
    client_id integer REFERENCES oauth_client ON DELETE CASCADE,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    expires timestamptz NOT NULL,
    pause_seconds integer NOT NULL DEFAULT 5,
    polled timestamptz,
    denied timestamptz,
    grant_id integer REFERENCES oauth_grant ON DELETE CASCADE,
    used timestamptz
);
CREATE INDEX device_code_client ON device_code (client_id) WHERE client_id IS NOT NULL;
CREATE INDEX device_code_grant ON device_code (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX device_code_expiry ON device_code (expires);

CREATE TABLE refresh_token (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    grant_id integer NOT NULL REFERENCES oauth_grant ON DELETE CASCADE,
    expires timestamptz NOT NULL,
    used timestamptz
);
CREATE INDEX refresh_token_grant ON refresh_token (grant_id);
CREATE INDEX refresh_token_expiry ON refresh_token (expires);

CREATE TABLE tree (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    directory text NOT NULL,
    size bigint NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    expires timestamptz NOT NULL,
    deleted timestamptz
);
CREATE INDEX tree_owner ON tree (owner_id);
CREATE INDEX tree_expiry ON tree (expires) WHERE deleted IS NULL;
ALTER TABLE job
    ADD COLUMN tree_id integer REFERENCES tree ON DELETE SET NULL,
    ADD COLUMN plan jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN cancel_cause text;
CREATE INDEX job_tree ON job (tree_id) WHERE tree_id IS NOT NULL;

ALTER TABLE token ADD COLUMN grant_id integer REFERENCES oauth_grant ON DELETE CASCADE;
CREATE INDEX token_grant ON token (grant_id) WHERE grant_id IS NOT NULL;

CREATE TABLE job_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL REFERENCES job ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('created', 'status', 'task', 'settings')),
    status text NOT NULL CHECK (status IN
        ('pending', 'queued', 'running', 'success', 'failed', 'timeout', 'cancelled')),
    task_id integer REFERENCES task ON DELETE CASCADE,
    task_status text CHECK (task_status IN
        ('pending', 'running', 'success', 'failed', 'skipped')),
    attempt integer NOT NULL,
    cause text,
    CONSTRAINT job_event_of_task CHECK
        ((kind = 'task') = (task_id IS NOT NULL AND task_status IS NOT NULL))
);
CREATE INDEX job_event_job ON job_event (job_id, id);

CREATE TABLE webhook (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    client_id integer REFERENCES oauth_client ON DELETE CASCADE,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    events text[] NOT NULL CHECK (cardinality(events) > 0),
    url text NOT NULL,
    query text NOT NULL
);
CREATE INDEX webhook_owner ON webhook (owner_id, id DESC);
CREATE INDEX webhook_client ON webhook (client_id) WHERE client_id IS NOT NULL;

ALTER TABLE delivery
    ADD COLUMN webhook_id integer REFERENCES webhook ON DELETE CASCADE,
    ADD COLUMN event_id bigint REFERENCES job_event ON DELETE CASCADE,
    ADD COLUMN payload text,
    ADD CONSTRAINT delivery_of_event CHECK ((webhook_id IS NULL) = (event_id IS NULL));
DROP INDEX delivery_once_for_job;
CREATE UNIQUE INDEX delivery_once_for_job ON delivery (job_id, position)
    WHERE replay_of IS NULL AND webhook_id IS NULL;
CREATE UNIQUE INDEX delivery_once_for_webhook ON delivery (webhook_id, event_id)
    WHERE replay_of IS NULL AND webhook_id IS NOT NULL;
CREATE INDEX delivery_event ON delivery (event_id) WHERE event_id IS NOT NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
