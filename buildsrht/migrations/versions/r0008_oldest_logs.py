"""How the oldest logs are found. A step of its own: indexes come first in one, and this is of a
column that the step before has added."""

from buildsrht.migrations import indexes

revision = "0008"
down_revision = "0007"
works_with = "0007"

INDEXES = """
CREATE INDEX log_kept ON log (created) WHERE removed IS NULL;
"""


def upgrade() -> None:
    indexes.make(INDEXES)
