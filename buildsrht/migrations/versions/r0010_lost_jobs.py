"""Jobs whose storage a janitor has to look through."""

from alembic import op

revision = "0010"
down_revision = "0009"
works_with = "0009"

LOST_JOBS = """
CREATE TABLE lost_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id integer NOT NULL UNIQUE REFERENCES job ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(LOST_JOBS)
