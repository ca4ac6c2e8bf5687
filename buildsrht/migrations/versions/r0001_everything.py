"""Everything that the first release has. Frozen, whatever becomes of schema.sql."""

from alembic import op

revision = "0001"
down_revision = None
works_with = "0001"

TABLES = """
CREATE TABLE "user" (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z_][a-z0-9_-]{0,62}$'),
    admin boolean NOT NULL DEFAULT false
);

CREATE TABLE token (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    comment text,
    expires timestamptz NOT NULL,
    revoked timestamptz
);
CREATE INDEX token_user ON token (user_id);

CREATE TABLE job_group (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    note text,
    triggers jsonb NOT NULL DEFAULT '[]'
);

CREATE TABLE job (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    group_id integer REFERENCES job_group ON DELETE SET NULL,
    manifest text NOT NULL,
    image text NOT NULL,
    arch text NOT NULL,
    note text,
    tags text[] NOT NULL DEFAULT '{}',
    visibility text NOT NULL CHECK (visibility IN ('public', 'unlisted', 'private')),
    secrets boolean NOT NULL,
    status text NOT NULL CHECK (status IN
        ('pending', 'queued', 'running', 'success', 'failed', 'timeout', 'cancelled')),
    queued timestamptz,
    started timestamptz,
    finished timestamptz,
    runner text,
    attempt integer NOT NULL DEFAULT 0,
    lease_expires timestamptz,
    cancel_requested timestamptz,
    idempotency_key text,
    idempotency_hash bytea,
    CONSTRAINT job_running_has_runner CHECK
        (status <> 'running' OR (runner IS NOT NULL AND lease_expires IS NOT NULL)),
    CONSTRAINT job_finished_once_final CHECK
        ((finished IS NOT NULL) = (status IN ('success', 'failed', 'timeout', 'cancelled'))),
    CONSTRAINT job_idempotency UNIQUE (owner_id, idempotency_key)
);
CREATE INDEX job_owner ON job (owner_id, id DESC);
CREATE INDEX job_group_member ON job (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX job_unfinished ON job (id) WHERE status IN ('pending', 'queued', 'running');

CREATE TABLE task (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL REFERENCES job ON DELETE CASCADE,
    position integer NOT NULL,
    name text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,128}$'),
    status text NOT NULL CHECK (status IN ('pending', 'running', 'success', 'failed', 'skipped')),
    UNIQUE (job_id, position),
    UNIQUE (job_id, name)
);

CREATE TABLE log (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL REFERENCES job ON DELETE CASCADE,
    task_id integer REFERENCES task ON DELETE CASCADE,
    size bigint NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    UNIQUE NULLS NOT DISTINCT (job_id, task_id)
);

CREATE TABLE artifact (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL REFERENCES job ON DELETE CASCADE,
    path text NOT NULL,
    name text NOT NULL,
    secret text NOT NULL CHECK (secret ~ '^[0-9a-f]{16}$'),
    size bigint NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    expires timestamptz NOT NULL,
    deleted timestamptz,
    UNIQUE (job_id, name)
);
CREATE INDEX artifact_expiry ON artifact (expires) WHERE deleted IS NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(TABLES, execution_options={"no_parameters": True})
