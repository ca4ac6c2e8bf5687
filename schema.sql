-- The whole database. `buildsrht db init` loads this file into an empty one; the migrations in
-- buildsrht/migrations bring an older one to exactly this, and a test compares the two.
--
-- Times are UTC. States move by compare-and-set only (buildsrht/status.py); the constraints
-- below hold whatever the code does.

-- Finds text within text. PostgreSQL brings it along.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE "user" (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z_][a-z0-9_-]{0,62}$'),
    admin boolean NOT NULL DEFAULT false,
    updated timestamptz NOT NULL DEFAULT now(),
    email text,
    -- An Argon2 hash in its own notation; nobody signs in without one but through a provider.
    password text,
    -- Since when an operator keeps this account from doing anything.
    suspended timestamptz,
    -- When a job of theirs was last begun: who waits longest for a turn is next.
    served timestamptz
);
CREATE UNIQUE INDEX user_email ON "user" (lower(email));

-- Who signs in through an OpenID Connect provider: what the provider calls them, for good.
CREATE TABLE identity (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    issuer text NOT NULL,
    subject text NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identity_user ON identity (user_id);

-- A browser in which somebody has signed in. Its cookie is kept as the SHA-256 of its text.
CREATE TABLE sign_in (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    expires timestamptz NOT NULL
);
CREATE INDEX sign_in_user ON sign_in (user_id);
CREATE INDEX sign_in_expiry ON sign_in (expires);

-- A way back in for whoever forgot a password: sent by mail, good once and not for long.
CREATE TABLE password_reset (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    expires timestamptz NOT NULL,
    used timestamptz
);
CREATE INDEX password_reset_user ON password_reset (user_id);
CREATE INDEX password_reset_expiry ON password_reset (expires);

-- A program that users may let act for them. One that can keep a secret has one.
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

-- What a user has allowed a program. Without a client it is this service's own command line. All
-- tokens that come of it die with it.
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

-- RFC 6749, section 4.1, and RFC 7636: good once, and for a moment.
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

-- RFC 8628: what a device waits with until its user has typed the short code and decided.
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

-- Each is good once, for the next one and an access token. One that comes a second time was stolen
-- from somebody: then its grant is revoked.
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

-- The public keys by which the ssh gateway knows its users.
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

-- What builds may be given. `sealed` is encrypted with a key that is not in the database, and
-- bound to its owner and uuid. A secret that was shared is a copy, with the uuid of the first.
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

CREATE TABLE job_group (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    updated timestamptz NOT NULL DEFAULT now(),
    owner_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    note text,
    triggers jsonb NOT NULL DEFAULT '[]',
    -- When the last of its jobs was over; from then on its triggers are in `delivery`.
    finished timestamptz
);
CREATE INDEX job_group_unfinished ON job_group (id) WHERE finished IS NULL;

-- A working tree that was submitted with a job, instead of a repository to clone. `directory` is
-- where builds find it; `deleted` says when its bytes went.
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

    -- What its manifest asks for at its end, so that its end needs no manifest.
    triggers jsonb NOT NULL DEFAULT '[]',
    tree_id integer REFERENCES tree ON DELETE SET NULL,
    -- What its build host decided and found: see buildsrht.services.plans.
    plan jsonb NOT NULL DEFAULT '{}',
    -- Who asked for a cancel: it goes with the event, once the build host has ended the job.
    cancel_cause text,
    -- Whose fault it was that the job failed: its build's, or this service's. Unknown of old jobs.
    fault text CHECK (fault IN ('build', 'service')),
    -- What a build host must have besides the image.
    labels text[] NOT NULL DEFAULT '{}',
    -- Until when this attempt may run; somebody else sees to it if its build host does not.
    deadline timestamptz,
    -- Whether its artifacts and logs are kept for ever.
    pinned boolean NOT NULL DEFAULT false,

    CONSTRAINT job_running_has_runner CHECK
        (status <> 'running' OR (runner IS NOT NULL AND lease_expires IS NOT NULL)),
    CONSTRAINT job_finished_once_final CHECK
        ((finished IS NOT NULL) = (status IN ('success', 'failed', 'timeout', 'cancelled'))),
    CONSTRAINT job_fault_of_failed CHECK (fault IS NULL OR status IN ('failed', 'timeout')),
    CONSTRAINT job_idempotency UNIQUE (owner_id, idempotency_key)
);
CREATE INDEX job_owner ON job (owner_id, id DESC);
CREATE INDEX job_group_member ON job (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX job_tree ON job (tree_id) WHERE tree_id IS NOT NULL;
-- The janitor and the queue page read unfinished jobs only; this index stays small for ever.
CREATE INDEX job_unfinished ON job (id) WHERE status IN ('pending', 'queued', 'running');
-- Whose turn it is: see buildsrht.services.dispatch.
CREATE INDEX job_queued ON job (owner_id, queued, id) WHERE status = 'queued';
CREATE INDEX job_running ON job (owner_id) WHERE status = 'running';
-- What others may find of a user's. Badges and feeds tell of those that are over, and of the first of
-- their tags.
CREATE INDEX job_published ON job (owner_id, id DESC) WHERE visibility = 'public';
CREATE INDEX job_published_tag ON job (owner_id, coalesce(tags[1], ''), id DESC)
    WHERE visibility = 'public' AND finished IS NOT NULL;
-- How jobs are looked for (buildsrht/services/search.py): each in the order of the list.
CREATE INDEX job_public ON job (id) WHERE visibility = 'public';
CREATE INDEX job_status ON job (status, id);
CREATE INDEX job_image ON job (image text_pattern_ops, id);
CREATE INDEX job_runner ON job (runner, id) WHERE runner IS NOT NULL;
CREATE INDEX job_created ON job (created, id);
CREATE INDEX job_tags ON job USING gin (tags);
CREATE INDEX job_note ON job USING gin (note gin_trgm_ops);

-- A token is shown once and kept as the SHA-256 of its text: it has 256 random bits, so that a
-- slow password hash would protect nothing. One that was made for a job is good while that runs, and
-- not a moment longer.
CREATE TABLE token (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    user_id integer NOT NULL REFERENCES "user" ON DELETE CASCADE,
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    comment text,
    expires timestamptz NOT NULL,
    revoked timestamptz,
    job_id integer REFERENCES job ON DELETE CASCADE,
    grant_id integer REFERENCES oauth_grant ON DELETE CASCADE
);
CREATE INDEX token_user ON token (user_id);
CREATE INDEX token_job ON token (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX token_grant ON token (grant_id) WHERE grant_id IS NOT NULL;

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
CREATE INDEX task_name ON task (name, job_id);

-- A log that is complete and in storage. While it grows there is no row here and its bytes are
-- in Redis; task_id is null for the setup log.
CREATE TABLE log (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    job_id integer NOT NULL REFERENCES job ON DELETE CASCADE,
    task_id integer REFERENCES task ON DELETE CASCADE,
    size bigint NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    -- How many lines; unknown of logs that are older than the marks beside them in storage.
    lines bigint CHECK (lines >= 0),
    -- The row outlives the bytes, so that readers are told that it is gone, and when it went.
    removed timestamptz,
    -- The process that stored it, as in its key: see buildsrht.logs. None of those that are older.
    writer text,
    UNIQUE NULLS NOT DISTINCT (job_id, task_id)
);
-- What is removed goes from the oldest on: see buildsrht.services.retention.
CREATE INDEX log_kept ON log (created) WHERE removed IS NULL;
-- For deleting a job: what refers to a task that goes is looked for.
CREATE INDEX log_task ON log (task_id) WHERE task_id IS NOT NULL;

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

-- A machine that was kept after its job, for the job's owner to look into. `ended` says when it
-- went, and `reason` why. What is on the build host's disk opens with the key that is sealed here,
-- which goes when the machine does.
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

-- What happened to a job, each written in the transaction in which it happens: `status` is the job's
-- from then on, `task_status` a task's.
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
CREATE INDEX job_event_task ON job_event (task_id) WHERE task_id IS NOT NULL;

-- Where a user wants to be told of what happens to their jobs: `query` is GraphQL, and what it finds
-- is what is sent. It may see what `scopes` allow, which are those of the token that made it.
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

-- The outbox: an email or a webhook, written in the transaction in which it comes to be owed, and
-- delivered later, as often as it takes. `uuid` is what a receiver knows it by.
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
    -- The last attempt: what was sent, and what came back. For the owner's eyes only.
    request_headers jsonb,
    request_body text,
    response_status integer,
    response_headers jsonb,
    response_body text,
    error text,
    -- What a user's webhook is told, once its query has been evaluated: the same at each attempt.
    webhook_id integer REFERENCES webhook ON DELETE CASCADE,
    event_id bigint REFERENCES job_event ON DELETE CASCADE,
    payload text,
    CONSTRAINT delivery_of_one CHECK ((job_id IS NULL) <> (group_id IS NULL)),
    CONSTRAINT delivery_of_event CHECK ((webhook_id IS NULL) = (event_id IS NULL))
);
CREATE UNIQUE INDEX delivery_once_for_job ON delivery (job_id, position)
    WHERE replay_of IS NULL AND webhook_id IS NULL;
CREATE UNIQUE INDEX delivery_once_for_webhook ON delivery (webhook_id, event_id)
    WHERE replay_of IS NULL AND webhook_id IS NOT NULL;
CREATE INDEX delivery_event ON delivery (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX delivery_job ON delivery (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX delivery_group ON delivery (group_id) WHERE group_id IS NOT NULL;
CREATE UNIQUE INDEX delivery_once_for_group ON delivery (group_id, position)
    WHERE replay_of IS NULL;
CREATE INDEX delivery_owner ON delivery (owner_id, id DESC);
CREATE INDEX delivery_due ON delivery (due) WHERE status = 'waiting';
CREATE INDEX delivery_replay ON delivery (replay_of) WHERE replay_of IS NOT NULL;

-- Where a forge reports pushes to one repository. `sealed` is the secret, or for sourcehut the
-- public key, that its reports are checked with; `credential` opens a private repository.
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

-- One report of a forge. `report_id` is the forge's own: a report that is sent twice builds once.
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

-- What every page says on top until it is ended; one at a time.
CREATE TABLE notice (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    author_id integer REFERENCES "user" ON DELETE SET NULL,
    text text NOT NULL CHECK (length(text) BETWEEN 1 AND 2000),
    ended timestamptz
);
CREATE UNIQUE INDEX notice_shown ON notice ((true)) WHERE ended IS NULL;

-- The build hosts. One that drains takes no job and goes on with those that it has; one that is
-- retired is kept for its name's sake. `facts` is what it last said of itself, and when: see
-- buildsrht.services.runners.
CREATE TABLE runner (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    seen timestamptz NOT NULL DEFAULT now(),
    facts jsonb NOT NULL DEFAULT '{}',
    enrolled timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining', 'retired'))
);

-- What only one process has to do, and which one does: see buildsrht.services.duties.
CREATE TABLE duty (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    holder text NOT NULL,
    until timestamptz NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    heard timestamptz NOT NULL DEFAULT now()
);

-- What metrics count, which never gets less, whatever is deleted: see buildsrht.services.tallies.
CREATE TABLE tally (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    labels text[] NOT NULL DEFAULT '{}',
    value double precision NOT NULL,
    UNIQUE (name, labels)
);

-- Bytes in storage that nobody is given any more, until the janitor has deleted them: one key, or
-- everything below a `prefix` that ends at a slash.
CREATE TABLE erasure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    prefix text NOT NULL CHECK (length(prefix) > 5)
);

-- Jobs that a build host left: storage may hold what it did not live to add a row for, until the
-- janitor has looked.
CREATE TABLE lost_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id integer NOT NULL UNIQUE REFERENCES job ON DELETE CASCADE
);
