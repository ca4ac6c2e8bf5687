"""What is kept for ever, and what was removed."""

from alembic import op

revision = "0007"
down_revision = "0006"
works_with = "0006"

# A constant for a default: nothing is rewritten.
CHANGES = """
ALTER TABLE job ADD COLUMN pinned boolean NOT NULL DEFAULT false;
ALTER TABLE log ADD COLUMN removed timestamptz;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
