"""What the pages need: marks in logs, a way back in, notices, build hosts, and jobs to delete."""

from alembic import op

revision = "0004"
down_revision = "0003"

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

CREATE INDEX job_published ON job (owner_id, id DESC)
    WHERE visibility = 'public' AND finished IS NOT NULL;
CREATE INDEX job_published_tag ON job (owner_id, coalesce(tags[1], ''), id DESC)
    WHERE visibility = 'public' AND finished IS NOT NULL;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
