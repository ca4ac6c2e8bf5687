"""Indexes of tables that may be large, made while the tables are written to.

CREATE INDEX alone keeps everybody from writing until it is done; CONCURRENTLY does not, but runs in
no transaction, and leaves an index that is not valid when it is interrupted. So a step makes its
indexes first of all, by `make`, which may be repeated; then the rest, which is one transaction.
"""

import re

from alembic import op

NAME = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON ")
EXISTING = """
SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass('{name}')
"""


def make(statements: str) -> None:
    """Make each index, unless it is there; statements as in schema.sql, a semicolon after each."""
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        # It waits for whoever has written to the table before, and nobody waits behind it.
        before = connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            for statement in filter(None, map(str.strip, statements.split(";"))):
                _make(statement)
        finally:
            connection.exec_driver_sql(f"SET lock_timeout = '{before}'")


def _make(statement: str) -> None:
    connection = op.get_bind()
    found = NAME.match(statement)
    assert found, f"no index: {statement}"
    is_valid = connection.exec_driver_sql(EXISTING.format(name=found[1])).scalar()
    if is_valid is False:
        connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY {found[1]}")
    if not is_valid:
        connection.exec_driver_sql(
            statement.replace(" INDEX ", " INDEX CONCURRENTLY ", 1),
            execution_options={"no_parameters": True},
        )
