"""What metrics count."""

from alembic import op

revision = "0006"
down_revision = "0005"
works_with = "0005"

CHANGES = """
CREATE TABLE tally (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    labels text[] NOT NULL DEFAULT '{}',
    value double precision NOT NULL,
    UNIQUE (name, labels)
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(CHANGES, execution_options={"no_parameters": True})
