-- The whole database. `buildsrht db init` loads this file into an empty one; the migrations in
-- buildsrht/migrations bring an older one to exactly this, and a test compares the two.
--
-- Times are UTC. States move by compare-and-set only (buildsrht/status.py); the constraints
-- below hold whatever the code does.

CREATE TABLE "user" (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z_][a-z0-9_-]{0,62}$'),
    admin boolean NOT NULL DEFAULT false
);

-- A token is shown once and kept as the SHA-256 of its text: it has 256 random bits, so that a
-- slow password hash would protect nothing.
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

    -- Who runs it and until when that is believed without news. The runner stays set afterwards:
    -- the job's owner may ask where it ran.
    runner text,
    attempt integer NOT NULL DEFAULT 0,
    lease_expires timestamptz,
    cancel_requested timestamptz,

    -- What a client may send so that a repeated submit is answered with the first one's job.
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
-- The janitor and the queue page read unfinished jobs only; this index stays small for ever.
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

-- A log that is complete and in storage. While it grows there is no row here and its bytes are
-- in Redis; task_id is null for the setup log.
CREATE TABLE log (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL REFERENCES job ON DELETE CASCADE,
    task_id integer REFERENCES task ON DELETE CASCADE,
    size bigint NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    UNIQUE NULLS NOT DISTINCT (job_id, task_id)
);

-- `secret` is the random part of the download URL. The row outlives the bytes: `deleted` says
-- when they went, so that the URL can answer 410 instead of 404.
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
