"""The shape of the database: made once, brought up to date, checked before use.

`init()` fills an empty database from schema.sql, completely or not at all. `migrate()` brings an
older one to the same shape by the steps in buildsrht/migrations, while processes of the release
before go on to work with it; one that is interrupted goes on when it is run again. Two at once wait
for each other, and neither touches a database that holds something else.

The code of an older release may meet the database of a newer one: processes are not all replaced
at the same moment. So each step says the oldest code that works with what it has made, and the
database passes it on.

Knows nothing of what the tables mean.
"""

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from buildsrht import embedded
from buildsrht.config import Config
from buildsrht.errors import OperatorError
from buildsrht.migrations import compatibility

log = logging.getLogger(__name__)

SCHEMA = Path(__file__).parent.parent / "schema.sql"
MIGRATIONS = Path(__file__).parent / "migrations"
CONNECT_SECONDS = 10
# Any number, as long as nothing else takes an advisory lock of that number in this database.
ADVISORY_LOCK = 0x6275696C64
# An index of a large table takes its time. But while a step waits for a lock, everybody who comes
# later waits behind it: it gives up soon, lets them pass, and tries again, until the operator had
# better do so at a quieter time.
STATEMENT_TIMEOUT = "2h"
LOCK_TIMEOUT = "2s"
LOCK_PATIENCE_SECONDS = 120
# How long another migration may take.
OTHERS_SECONDS = 4 * 3600
LOCK_NOT_AVAILABLE = "55P03"


class State(NamedTuple):
    """What a database that we work with says of itself, and by how many seconds its clock is ahead
    of ours, within a doubt."""

    server: str
    revision: str
    ahead_seconds: float
    doubt_seconds: float


def init(config: Config) -> bool:
    """Load the schema into an empty database. False if it is there, in this or an older form."""
    with _alone(config) as connection, connection.begin():
        if _find_revision(connection):
            return False
        _execute(connection, SCHEMA.read_text(encoding="utf-8"))
        command.stamp(_alembic(connection), "head")
        return True


def migrate(config: Config) -> bool:
    """Bring an older database to the newest revision. False if it is there already."""
    with _alone(config) as connection:
        with connection.begin():
            if _require_revision(connection) == newest_revision():
                return False
        _take_steps(connection)
        return True


def require_current(config: Config) -> None:
    """Raise OperatorError, which names the remedy, unless the schema is one that we work with: our
    own, or that of a newer release which says so."""
    with connected(config) as connection:
        _require_usable(connection)


def look(config: Config) -> State:
    """The same, and what else an operator wants to know."""
    with connected(config) as connection:
        revision = _require_usable(connection)
        server = connection.exec_driver_sql("SHOW server_version").scalar_one()
        before = time.time()
        clock = "SELECT extract(epoch FROM clock_timestamp())"
        theirs = float(connection.exec_driver_sql(clock).scalar_one())
        after = time.time()
    return State(server, revision, theirs - (before + after) / 2, (after - before) / 2)


def newest_revision() -> str:
    return _revisions()[0]


def _revisions() -> list[str]:
    """Every revision that this release knows, the newest first."""
    return [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]


def _require_usable(connection: Connection) -> str:
    """The revision of a database that we work with."""
    ours, known = newest_revision(), _revisions()
    theirs = _stamped(connection)
    if theirs not in known and compatibility.oldest_for(connection, theirs) in known:
        log.warning(
            "the database is at revision %s, of a newer release, and this one knows %s: they work "
            "together, but upgrade this host too",
            theirs,
            ours,
        )
        return theirs
    revision = _require_revision(connection)
    if revision != ours:
        raise OperatorError(
            f"the database is at revision {revision} and this release needs {ours}: "
            "run `buildsrht db migrate`"
        )
    return revision


def _require_revision(connection: Connection) -> str:
    revision = _find_revision(connection)
    if revision is None:
        raise OperatorError("the database is empty: run `buildsrht db init`")
    return revision


def _find_revision(connection: Connection) -> str | None:
    """The revision of our schema in this database; None if the database is empty."""
    revision = _stamped(connection)
    if revision in _revisions():
        return revision
    if revision:
        raise OperatorError(
            f"the database is at revision {revision}, which this release does not know: "
            "it belongs to a newer one that does not work with this one, so upgrade this host; "
            "or to another program"
        )
    tables = inspect(connection).get_table_names()
    if tables:
        raise OperatorError(
            f"the database has tables that are not ours ({', '.join(sorted(tables)[:3])}, ...): "
            "give buildsrht one of its own"
        )
    return None


def _stamped(connection: Connection) -> str:
    return ", ".join(MigrationContext.configure(connection).get_current_heads())


# --- steps ----------------------------------------------------------------------------------------


def _take_steps(connection: Connection) -> None:
    """Those that are still to be taken; one that does not get its locks is tried again."""
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        try:
            command.upgrade(_alembic(connection), "head")
            return
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE:
                raise
            connection.rollback()
            if time.monotonic() > deadline:
                raise
            log.info("a table is in use; trying again")
            # Not in step with whatever it is that uses the table again and again.
            time.sleep(random.uniform(0.05, 0.5))


def _alembic(connection: Connection) -> AlembicConfig:
    config = AlembicConfig(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _execute(connection: Connection, statements: str) -> None:
    # Not text(), which takes a colon for a parameter; without parameters, or % would need escapes.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})


@contextmanager
def _alone(config: Config) -> Iterator[Connection]:
    """A connection in no transaction, that no other one of these is open beside."""
    with _connection(config) as connection:
        deadline = time.monotonic() + OTHERS_SECONDS
        while not _try_alone(connection):
            if time.monotonic() > deadline:
                raise OperatorError("the database: another `buildsrht db` has not come to its end")
            time.sleep(0.1)
        with connection.begin():
            _execute(connection, f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
            _execute(connection, f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        yield connection


def _try_alone(connection: Connection) -> bool:
    # Tried, and not waited for: an index that the other one makes waits for every transaction that
    # was there before it, so that each would wait for the other.
    with connection.begin():
        return bool(
            connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})").scalar_one()
        )


@contextmanager
def connected(config: Config) -> Iterator[Connection]:
    """One transaction on a connection of its own. Raises OperatorError for whatever the server
    says."""
    with _connection(config) as connection, connection.begin():
        yield connection


@contextmanager
def _connection(config: Config) -> Iterator[Connection]:
    engine = create_engine(
        config.database.url,
        poolclass=NullPool,
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    try:
        with engine.connect() as connection:
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
