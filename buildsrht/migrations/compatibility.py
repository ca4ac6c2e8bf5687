"""The oldest code that works with the database, as the database says it: `works_with` of its newest
step, written with the revision on the table that holds that.

A comment, and not a column: code of any release can ask for it, also of a database that it does not
know.
"""

import re
from typing import Any

from sqlalchemy import Connection

SAID = "revision {} works with the code of {} and later"
ASK = "SELECT obj_description(to_regclass('alembic_version'), 'pg_class')"


def note(connection: Connection, script: Any) -> None:
    """Say of the step that was just taken what it works with; if it does not tell, with itself."""
    oldest = getattr(script.module, "works_with", script.revision)
    said = SAID.format(script.revision, oldest)
    connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{said}'")


def oldest_for(connection: Connection, revision: str) -> str | None:
    """The oldest code that works with the database at this revision, if it says so."""
    said = connection.exec_driver_sql(ASK).scalar()
    found = re.fullmatch(SAID.format(re.escape(revision), "(.*)"), said or "")
    return found[1] if found else None
