"""The shape of the database: made once, brought up to date, checked before use.

`init()` fills an empty database from schema.sql; `migrate()` brings an older one to the same
shape, by the steps in buildsrht/migrations. Either happens completely or not at all, two at once
wait for each other, and neither touches a database that holds something else.

Knows nothing of what the tables mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from buildsrht import embedded
from buildsrht.config import Config
from buildsrht.errors import OperatorError

SCHEMA = Path(__file__).parent.parent / "schema.sql"
MIGRATIONS = Path(__file__).parent / "migrations"
CONNECT_SECONDS = 10
# Any number, as long as nothing else takes an advisory lock of that number in this database.
ADVISORY_LOCK = 0x6275696C64
# A step may rewrite a large table. But while it waits for a lock, everybody who comes later waits
# behind it: it gives up soon, and the operator tries again at a quieter time.
STATEMENT_TIMEOUT = "30min"
LOCK_TIMEOUT = "5s"


def init(config: Config) -> bool:
    """Load the schema into an empty database. False if it is there, in this or an older form."""
    with _exclusively(config) as connection:
        if _find_revision(connection):
            return False
        _execute(connection, SCHEMA.read_text(encoding="utf-8"))
        command.stamp(_alembic(connection), "head")
        return True


def migrate(config: Config) -> bool:
    """Bring an older database to the newest revision. False if it is there already."""
    with _exclusively(config) as connection:
        if _require_revision(connection) == newest_revision():
            return False
        command.upgrade(_alembic(connection), "head")
        return True


def require_current(config: Config) -> None:
    """Raise OperatorError, which names the remedy, unless the schema is the one we work with."""
    with _transaction(config) as connection:
        revision = _require_revision(connection)
    if revision != newest_revision():
        raise OperatorError(
            f"the database is at revision {revision} and this release needs "
            f"{newest_revision()}: run `buildsrht db migrate`"
        )


def newest_revision() -> str:
    return _revisions()[0]


def _revisions() -> list[str]:
    """Every revision that this release knows, the newest first."""
    return [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]


def _require_revision(connection: Connection) -> str:
    revision = _find_revision(connection)
    if revision is None:
        raise OperatorError("the database is empty: run `buildsrht db init`")
    return revision


def _find_revision(connection: Connection) -> str | None:
    """The revision of our schema in this database; None if the database is empty."""
    revision = ", ".join(MigrationContext.configure(connection).get_current_heads())
    if revision in _revisions():
        return revision
    if revision:
        raise OperatorError(
            f"the database is at revision {revision}, which this release does not know: "
            "it belongs to a newer one, or to another program"
        )
    tables = inspect(connection).get_table_names()
    if tables:
        raise OperatorError(
            f"the database has tables that are not ours ({', '.join(sorted(tables)[:3])}, ...): "
            "give buildsrht one of its own"
        )
    return None


def _alembic(connection: Connection) -> AlembicConfig:
    config = AlembicConfig(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _execute(connection: Connection, statements: str) -> None:
    # Not text(), which takes a colon for a parameter; without parameters, or % would need escapes.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


@contextmanager
def _exclusively(config: Config) -> Iterator[Connection]:
    """A transaction that no other one of these runs beside."""
    with _transaction(config) as connection:
        _execute(connection, f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        _execute(connection, f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        # Only now: the wait for another migration may be as long as that one takes.
        _execute(connection, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        yield connection


@contextmanager
def _transaction(config: Config) -> Iterator[Connection]:
    engine = create_engine(
        config.database.url,
        poolclass=NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise OperatorError(_explain(config, error)) from error


def _explain(config: Config, error: DBAPIError) -> str:
    """What the server or the driver says, which is a sentence on its first line."""
    first_line, _, _ = str(error.orig).strip().partition("\n")
    reason = f"the database: {first_line}"
    is_embedded = config.database.url == embedded.postgres_url(config.embedded_postgres)
    is_away = error.connection_invalidated or error.statement is None
    return f"{reason}; `buildsrht up` starts it" if is_embedded and is_away else reason
