"""Secrets, ssh keys, the outbox of triggers, kept machines, and the hooks of forges."""

from alembic import op

revision = "0002"
down_revision = "0001"
works_with = "0001"

# Constants for defaults and nothing to rewrite: no table is locked for longer than a moment, and
# the code of the first release goes on with what it knows.
CHANGES = """
ALTER TABLE job_group ADD COLUMN finished timestamptz;
-- The triggers of groups that were over before there was an outbox stay as they are: unsent.
UPDATE job_group SET finished = updated
    WHERE NOT EXISTS (SELECT FROM job WHERE group_id = job_group.id AND job.finished IS NULL);
CREATE INDEX job_group_unfinished ON job_group (id) WHERE finished IS NULL;
ALTER TABLE job ADD COLUMN triggers jsonb NOT NULL DEFAULT '[]';
ALTER TABLE token ADD COLUMN job_id integer REFERENCES job ON DELETE CASCADE;
CREATE INDEX token_job ON token (job_id) WHERE job_id IS NOT NULL;

CREATE TABLE ssh_key (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    key text NOT NULL UNIQUE,
    fingerprint text NOT NULL,
    comment text,
    last_used timestamptz
);
CREATE INDEX ssh_key_user ON ssh_key (user_id);

CREATE TABLE secret (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    uuid uuid NOT NULL,
    name text CHECK (length(name) BETWEEN 3 AND 512),
    kind text NOT NULL CHECK (kind IN ('ssh_key', 'pgp_key', 'file')),
    path text,
    mode integer CHECK (mode BETWEEN 0 AND 511),
    from_user_id integer REFERENCES "user" ON DELETE SET NULL,
    sealed bytea NOT NULL,
    CONSTRAINT secret_file CHECK
        (CASE WHEN kind = 'file' THEN path IS NOT NULL AND mode IS NOT NULL
              ELSE path IS NULL AND mode IS NULL END),
    UNIQUE (owner_id, uuid),
    UNIQUE (owner_id, name)
);

CREATE TABLE kept_machine (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL UNIQUE REFERENCES job ON DELETE CASCADE,
    runner text NOT NULL,
    expires timestamptz NOT NULL,
    sealed_key bytea,
    ended timestamptz,
    reason text,
    CONSTRAINT kept_machine_has_key CHECK ((sealed_key IS NULL) = (ended IS NOT NULL))
);
CREATE INDEX kept_machine_expiry ON kept_machine (expires) WHERE ended IS NULL;

CREATE TABLE delivery (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    job_id integer REFERENCES job ON DELETE CASCADE,
    group_id integer REFERENCES job_group ON DELETE CASCADE,
    position integer NOT NULL,
    trigger jsonb NOT NULL,
    replay_of integer REFERENCES delivery ON DELETE SET NULL,
    status text NOT NULL CHECK (status IN ('waiting', 'delivered', 'abandoned')),
    attempts integer NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL,
    request_headers jsonb,
    request_body text,
    response_status integer,
    response_headers jsonb,
    response_body text,
    error text,
    CONSTRAINT delivery_of_one CHECK ((job_id IS NULL) <> (group_id IS NULL))
);
CREATE UNIQUE INDEX delivery_once_for_job ON delivery (job_id, position) WHERE replay_of IS NULL;
CREATE UNIQUE INDEX delivery_once_for_group ON delivery (group_id, position)
    WHERE replay_of IS NULL;
CREATE INDEX delivery_owner ON delivery (owner_id, id DESC);
CREATE INDEX delivery_due ON delivery (due) WHERE status = 'waiting';
CREATE INDEX delivery_replay ON delivery (replay_of) WHERE replay_of IS NOT NULL;

CREATE TABLE hook (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    forge text NOT NULL CHECK (forge IN ('github', 'gitlab', 'gitea', 'sourcehut')),
    repository text NOT NULL,
    visibility text NOT NULL CHECK (visibility IN ('public', 'unlisted', 'private')),
    pull_requests boolean NOT NULL,
    sealed bytea NOT NULL,
    credential bytea
);
CREATE INDEX hook_owner ON hook (owner_id, id DESC);

CREATE TABLE push (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    hook_id integer NOT NULL REFERENCES hook ON DELETE CASCADE,
    report_id text NOT NULL,
    event jsonb NOT NULL,
    status text NOT NULL CHECK (status IN ('waiting', 'built', 'ignored', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT now(),
    expires timestamptz NOT NULL,
    reason text,
    job_ids integer[] NOT NULL DEFAULT '{}',
    UNIQUE (hook_id, report_id)
);
CREATE INDEX push_due ON push (due) WHERE status = 'waiting';
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
