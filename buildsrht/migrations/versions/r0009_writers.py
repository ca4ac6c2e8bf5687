"""Whose copy of a sealed log counts. The version before finds none that are sealed from now on, so
the web service goes first, as docs/operating.md says."""

from alembic import op

revision = "0009"
down_revision = "0008"
works_with = "0008"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE log ADD COLUMN writer text")
