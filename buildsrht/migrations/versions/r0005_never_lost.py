"""What it takes to lose no job: whose fault a failure was, and which build hosts take jobs."""

from alembic import op

from buildsrht.migrations import indexes

revision = "0005"
down_revision = "0004"

works_with = "0004"

INDEXES = """
CREATE INDEX job_queued ON job (owner_id, queued, id) WHERE status = 'queued';
CREATE INDEX job_running ON job (owner_id) WHERE status = 'running';
"""
# Nothing to rewrite: a check of a column that is null in every row costs one scan of the table.
CHANGES = """
ALTER TABLE job ADD COLUMN fault text CHECK (fault IN ('build', 'service'));
ALTER TABLE job ADD CONSTRAINT job_fault_of_failed
    CHECK (fault IS NULL OR status IN ('failed', 'timeout'));

ALTER TABLE "user" ADD COLUMN served timestamptz;
ALTER TABLE job ADD COLUMN labels text[] NOT NULL DEFAULT '{}';
ALTER TABLE job ADD COLUMN deadline timestamptz;

CREATE TABLE duty (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    holder text NOT NULL,
    until timestamptz NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    heard timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE runner ADD COLUMN enrolled timestamptz NOT NULL DEFAULT now();
ALTER TABLE runner ADD COLUMN state text NOT NULL DEFAULT 'active'
    CHECK (state IN ('active', 'draining', 'retired'));
"""


def upgrade() -> None:
    indexes.make(INDEXES)
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
