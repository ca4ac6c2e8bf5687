"""What the pages need: marks in logs, a way back in, notices, build hosts, and jobs to delete."""

from alembic import op

from buildsrht.migrations import indexes

revision = "0004"
down_revision = "0003"

works_with = "0003"

# What the index of notes is made with.
EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
INDEXES = """
CREATE INDEX log_task ON log (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX job_event_task ON job_event (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX delivery_job ON delivery (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX delivery_group ON delivery (group_id) WHERE group_id IS NOT NULL;

CREATE INDEX job_published ON job (owner_id, id DESC) WHERE visibility = 'public';
CREATE INDEX job_published_tag ON job (owner_id, coalesce(tags[1], ''), id DESC)
    WHERE visibility = 'public' AND finished IS NOT NULL;

CREATE INDEX job_public ON job (id) WHERE visibility = 'public';
CREATE INDEX job_status ON job (status, id);
CREATE INDEX job_image ON job (image text_pattern_ops, id);
CREATE INDEX job_runner ON job (runner, id) WHERE runner IS NOT NULL;
CREATE INDEX job_created ON job (created, id);
CREATE INDEX job_tags ON job USING gin (tags);
CREATE INDEX job_note ON job USING gin (note gin_trgm_ops);
CREATE INDEX task_name ON task (name, job_id);
"""
# As before: nothing to rewrite, and nothing that the code of the last release misses.
CHANGES = """
ALTER TABLE "user" ADD COLUMN suspended timestamptz;
ALTER TABLE log ADD COLUMN lines bigint CHECK (lines >= 0);

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

CREATE TABLE notice (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    author_id integer REFERENCES "user" ON DELETE SET NULL,
    text text NOT NULL CHECK (length(text) BETWEEN 1 AND 2000),
    ended timestamptz
);
CREATE UNIQUE INDEX notice_shown ON notice ((true)) WHERE ended IS NULL;

CREATE TABLE runner (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    seen timestamptz NOT NULL DEFAULT now(),
    facts jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE erasure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created timestamptz NOT NULL DEFAULT now(),
    prefix text NOT NULL CHECK (length(prefix) > 5)
);
"""


def upgrade() -> None:
    op.execute(EXTENSION)
    indexes.make(INDEXES)
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
