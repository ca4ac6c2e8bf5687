"""The database: made from schema.sql or step by step, the same either way, and only once."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, inspect, make_url
from sqlalchemy.event import listen

from buildsrht import config, database
from buildsrht.config import Config, Database
from buildsrht.errors import OperatorError
from buildsrht.models import Base

NEXT_STEP = """
from alembic import op

revision = "9000"
down_revision = "0010"
works_with = "{works_with}"


def upgrade():
    op.execute('ALTER TABLE "user" ADD COLUMN shoe_size integer')
"""


@pytest.fixture
def new_database(servers):
    """Makes the settings of one more empty database."""
    names = iter("abcdefgh")

    def new_database() -> Config:
        name = next(names)
        with connected(servers.database.url) as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return settings(make_url(servers.database.url).set(database=name).render_as_string())

    return new_database


@pytest.fixture
def empty(new_database):
    return new_database()


@pytest.fixture
def next_release(monkeypatch, tmp_path):
    """We become the release that gives users a shoe size."""
    migrations = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, migrations)

    def become(works_with="0010", during=monkeypatch):
        step = NEXT_STEP.format(works_with=works_with)
        (migrations / "versions" / "r9000_shoes.py").write_text(step)
        during.setattr(database, "MIGRATIONS", migrations)

    return become


def settings(url: str) -> Config:
    return replace(config.load({}), database=Database(url))


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection


def execute(on: Config, statement: str) -> None:
    with connected(on.database.url) as connection:
        connection.exec_driver_sql(statement)


def take_steps(on: Config, to: str = "head") -> None:
    with connected(on.database.url) as connection:
        migrate_by(connection, to)


def migrate_by(connection: Connection, to: str) -> None:
    alembic = AlembicConfig(attributes={"connection": connection})
    alembic.set_main_option("script_location", str(database.MIGRATIONS))
    command.upgrade(alembic, to)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dump(on: Config) -> list[str]:
    """The shape of a database in SQL, without what differs from one dump to the next."""
    url = make_url(on.database.url)
    host, user, name = url.normalized_query["host"][0], str(url.username), str(url.database)
    command_line = ["pg_dump", "--schema-only", "--exclude-table=alembic_version"]
    done = subprocess.run(
        [*command_line, "--host", host, "--username", user, name],
        check=True,
        capture_output=True,
        text=True,
    )
    return [line for line in done.stdout.splitlines() if not line.startswith("\\")]


# The same whichever way


def test_all_steps_from_nothing_make_exactly_schema_sql(new_database):
    at_once, step_by_step = new_database(), new_database()

    database.init(at_once)
    take_steps(step_by_step)

    assert len(dump(at_once)) > 100
    assert dump(step_by_step) == dump(at_once)


def test_the_models_have_the_tables_and_columns_of_schema_sql(empty):
    database.init(empty)

    def is_ours(thing, name, kind, reflected, compare_to):
        # Constraints and indexes are the schema's alone: no query mentions them.
        return kind == "column" or (kind == "table" and name != "alembic_version")

    with connected(empty.database.url) as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert compare_metadata(context, Base.metadata) == []


def test_the_models_refer_to_each_other_as_the_tables_do(empty):
    database.init(empty)

    with connected(empty.database.url) as connection:
        for table in Base.metadata.tables.values():
            assert {
                (column.name, key.column.table.name)
                for column in table.columns
                for key in column.foreign_keys
            } == {
                (key["constrained_columns"][0], key["referred_table"])
                for key in inspect(connection).get_foreign_keys(table.name)
            }


def test_what_the_models_leave_to_the_database_it_fills_in(empty):
    database.init(empty)

    with connected(empty.database.url) as connection:
        for table in Base.metadata.tables.values():
            columns = {
                column["name"]: column for column in inspect(connection).get_columns(table.name)
            }
            for column in table.columns:
                if column.server_default is not None:
                    assert columns[column.name]["default"], column
                if column.primary_key:
                    assert columns[column.name]["identity"], column


# init


def test_init_makes_a_database_that_is_current(empty):
    assert database.init(empty) is True
    database.require_current(empty)


def test_a_second_init_changes_nothing(empty):
    database.init(empty)
    execute(empty, "INSERT INTO \"user\" (name) VALUES ('alice')")

    assert database.init(empty) is False
    with connected(empty.database.url) as connection:
        assert connection.exec_driver_sql('SELECT name FROM "user"').scalar() == "alice"


def test_init_refuses_a_database_that_holds_something_else(empty):
    execute(empty, "CREATE TABLE accounts ()")

    with pytest.raises(OperatorError, match=r"tables that are not ours \(accounts, \.\.\.\)"):
        database.init(empty)


def test_an_init_that_fails_half_way_leaves_nothing(empty, monkeypatch, tmp_path):
    broken = tmp_path / "schema.sql"
    broken.write_text("CREATE TABLE job (); CREATE TABLE job ();")
    with monkeypatch.context() as patch:
        patch.setattr(database, "SCHEMA", broken)
        with pytest.raises(OperatorError, match="already exists"):
            database.init(empty)

    assert database.init(empty) is True


def test_of_two_inits_at_once_one_does_it(empty):
    with ThreadPoolExecutor() as threads:
        done = list(threads.map(database.init, [empty] * 4))

    assert sorted(done) == [False, False, False, True]
    database.require_current(empty)


# migrate


def test_migrate_has_nothing_to_do_in_a_current_database(empty):
    database.init(empty)

    assert database.migrate(empty) is False


def test_migrate_leaves_an_empty_database_to_init(empty):
    with pytest.raises(OperatorError, match="empty: run `buildsrht db init`"):
        database.migrate(empty)


def test_migrate_brings_an_older_database_up_to_date(empty, next_release):
    database.init(empty)
    next_release()

    assert database.migrate(empty) is True
    database.require_current(empty)
    execute(empty, 'SELECT shoe_size FROM "user"')


def test_code_of_the_release_before_works_with_the_database_of_a_newer_one_that_says_so(
    empty, next_release, monkeypatch, caplog
):
    database.init(empty)
    with monkeypatch.context() as patch:
        next_release(works_with="0010", during=patch)
        database.migrate(empty)

    database.require_current(empty)

    assert "at revision 9000, of a newer release, and this one knows 0010" in caplog.text
    assert "upgrade this host too" in caplog.text


def test_code_of_the_release_before_refuses_the_database_of_a_newer_one_that_does_not(
    empty, next_release, monkeypatch
):
    database.init(empty)
    with monkeypatch.context() as patch:
        next_release(works_with="9000", during=patch)
        database.migrate(empty)

    with pytest.raises(OperatorError, match=r"9000, which this release does not know: .* upgrade"):
        database.require_current(empty)


def test_of_two_migrates_at_once_one_does_it(empty, next_release):
    database.init(empty)
    next_release()

    with ThreadPoolExecutor() as threads:
        done = list(threads.map(database.migrate, [empty] * 4))

    assert sorted(done) == [False, False, False, True]


def test_of_two_migrates_at_once_one_makes_the_indexes_and_neither_waits_for_ever(empty):
    """Making one waits for all transactions that were there before it."""
    take_steps(empty, "0003")
    execute(empty, SOME_JOBS)

    with ThreadPoolExecutor() as threads:
        done = list(threads.map(database.migrate, [empty] * 3))

    assert sorted(done) == [False, False, True]


def test_what_comes_after_an_index_waits_for_locks_no_longer_than_before(empty):
    with connected(empty.database.url) as connection:
        connection.exec_driver_sql("SET lock_timeout = '1234ms'")
        connection.commit()
        migrate_by(connection, "0010")

        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "1234ms"


@pytest.fixture
def impatient(monkeypatch):
    """Locks are waited for only for a moment at a time."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT", "50ms")


def test_a_migrate_gives_up_at_last_on_a_table_that_is_in_use(
    empty, next_release, impatient, monkeypatch
):
    database.init(empty)
    next_release()
    monkeypatch.setattr(database, "LOCK_PATIENCE_SECONDS", 0.5)

    with connected(empty.database.url) as connection:
        connection.exec_driver_sql('BEGIN; LOCK TABLE "user"')
        with pytest.raises(OperatorError, match="lock timeout"):
            database.migrate(empty)
    assert database.migrate(empty) is True


def test_a_migrate_lets_others_pass_and_tries_again(empty, next_release, impatient, caplog):
    """While it waits for a lock, all who come later wait behind it."""
    database.init(empty)
    next_release()
    caplog.set_level("INFO", "buildsrht.database")

    with ThreadPoolExecutor() as threads, connected(empty.database.url) as connection:
        connection.exec_driver_sql('BEGIN; SELECT FROM "user"')
        migrated = threads.submit(database.migrate, empty)
        wait_until(lambda: "trying again" in caplog.text)
        with connected(empty.database.url) as another:
            another.exec_driver_sql("SET lock_timeout = '5s'")
            another.exec_driver_sql("INSERT INTO \"user\" (name) VALUES ('alice')")
        connection.exec_driver_sql("COMMIT")
        assert migrated.result(60) is True


def test_groups_that_were_over_before_there_was_an_outbox_tell_nobody(empty):
    take_steps(empty, "0001")
    execute(
        empty,
        """
        INSERT INTO "user" (name) VALUES ('alice');
        INSERT INTO job_group (owner_id) VALUES (1), (1);
        INSERT INTO job (owner_id, group_id, manifest, image, arch, visibility, secrets, status,
                         finished)
        VALUES (1, 1, '', '', '', 'public', true, 'success', now()),
               (1, 2, '', '', '', 'public', true, 'success', now()),
               (1, 2, '', '', '', 'public', true, 'pending', NULL);
        """,
    )

    database.migrate(empty)

    with connected(empty.database.url) as connection:
        asked = connection.exec_driver_sql("SELECT finished IS NOT NULL FROM job_group ORDER BY id")
        assert asked.scalars().all() == [True, False]


# While the code of the release before is at work

# From this step on: whoever has many jobs may have made the steps before in an earlier release.
FIRST_CONSIDERATE = "0004"
# They grow with each job.
LARGE = {"job", "task", "log", "artifact", "job_event", "delivery", "job_group", "token"}
STEPS = list(ScriptDirectory(str(database.MIGRATIONS)).walk_revisions())
CONSIDERATE = [script for script in STEPS if script.revision >= FIRST_CONSIDERATE]
SOME_JOBS = """
INSERT INTO "user" (name) VALUES ('alice');
INSERT INTO job (owner_id, manifest, image, arch, visibility, secrets, status, queued)
SELECT 1, '', '', '', 'public', true, 'queued', now() FROM generate_series(1, 100);
"""


@pytest.fixture(params=CONSIDERATE, ids=lambda script: script.revision)
def step(request, new_database):
    """A database with jobs, as the release before has left it, and the step to this one's."""
    before = new_database()
    take_steps(before, request.param.down_revision)
    execute(before, SOME_JOBS)
    return before, request.param


def files_of(on: Config) -> dict[str, int]:
    """The file of each large table: a table that is rewritten gets a new one."""
    with connected(on.database.url) as connection:
        asked = connection.exec_driver_sql(
            "SELECT relname, relfilenode FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace = 'public'::regnamespace"
        )
        return {name: file for name, file in asked if name in LARGE}


def test_a_step_rewrites_no_large_table(step):
    on, script = step
    before = files_of(on)

    take_steps(on, script.revision)

    assert before.keys() == LARGE
    assert files_of(on) == before


def test_a_step_makes_an_index_of_a_large_table_beside_its_work(step):
    on, script = step
    statements = []
    with connected(on.database.url) as connection:
        listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2]))
        migrate_by(connection, script.revision)

    text = "\n".join(statements)
    assert "UPDATE alembic_version" in text
    made = re.findall(r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?\w+ ON (\w+)", text)
    assert [table for beside, table in made if table in LARGE and not beside] == []


def test_a_step_drops_nothing_that_the_code_before_may_use(step):
    """Expand now, contract in a later release: see docs/architecture.md."""
    on, script = step
    before = columns_of(on)

    take_steps(on, script.revision)

    assert before <= columns_of(on)
    assert needed_of(on) == set()


def columns_of(on: Config) -> set[tuple[str, str]]:
    with connected(on.database.url) as connection:
        asked = connection.exec_driver_sql(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'public'"
        )
        return {(table, column) for table, column in asked}


def needed_of(on: Config) -> set[tuple[str, str]]:
    """Columns of jobs and users that an INSERT of the oldest release would miss."""
    known = {"owner_id", "manifest", "image", "arch", "visibility", "secrets", "status", "name"}
    with connected(on.database.url) as connection:
        asked = connection.exec_driver_sql(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_name IN ('job', 'user') AND table_schema = 'public' "
            "AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'"
        )
        return {(table, column) for table, column in asked if column not in known}


def test_every_step_says_the_oldest_code_that_works_with_it():
    for script in STEPS:
        assert script.module.works_with in (script.revision, script.down_revision), script.path


def test_jobs_are_submitted_while_an_index_is_made(empty):
    """It waits for whoever has written before, and those who come later do not wait for it."""
    take_steps(empty, "0003")
    execute(empty, SOME_JOBS)
    submit = SOME_JOBS.splitlines()[2] + " SELECT 1, '', '', '', 'public', true, 'queued', now()"

    with ThreadPoolExecutor() as threads, connected(empty.database.url) as earlier:
        earlier.exec_driver_sql(f"BEGIN; {submit}")
        migrated = threads.submit(database.migrate, empty)
        wait_until(lambda: is_making_an_index(empty))
        execute(empty, f"SET lock_timeout = '5s'; {submit}")
        assert is_making_an_index(empty)
        earlier.exec_driver_sql("COMMIT")
        assert migrated.result(60) is True

    database.require_current(empty)
    with connected(empty.database.url) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM job").scalar() == 102


def is_making_an_index(on: Config) -> bool:
    with connected(on.database.url) as connection:
        return connection.exec_driver_sql(
            "SELECT EXISTS (SELECT FROM pg_stat_progress_create_index "
            "WHERE datname = current_database())"
        ).scalar()


def test_a_migrate_that_was_killed_half_way_goes_on(empty):
    """An index that was being made then is there and not valid."""
    take_steps(empty, "0003")
    execute(empty, SOME_JOBS)
    execute(empty, "CREATE INDEX log_task ON log (task_id) WHERE task_id IS NOT NULL")
    execute(empty, "CREATE INDEX job_status ON job (status, id)")
    execute(
        empty, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'job_status'::regclass"
    )

    assert database.migrate(empty) is True

    with connected(empty.database.url) as connection:
        asked = connection.exec_driver_sql("SELECT bool_and(indisvalid) FROM pg_index")
        assert asked.scalar() is True


# require_current


def test_an_empty_database_is_refused_with_the_remedy(empty):
    with pytest.raises(OperatorError, match="empty: run `buildsrht db init`"):
        database.require_current(empty)


def test_an_older_database_is_refused_with_the_remedy(empty, next_release):
    database.init(empty)
    next_release()

    with pytest.raises(
        OperatorError, match=r"at revision 0010 .* 9000: run `buildsrht db migrate`"
    ):
        database.require_current(empty)
    assert database.init(empty) is False


@pytest.mark.parametrize("use", [database.init, database.migrate, database.require_current])
def test_the_database_of_a_newer_release_is_left_alone(empty, use):
    database.init(empty)
    execute(empty, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(OperatorError, match="revision 9999, which this release does not know"):
        use(empty)


def test_a_server_that_is_away_is_one_sentence():
    away = settings("postgresql+psycopg2://buildsrht@127.0.0.1:1/buildsrht")

    with pytest.raises(OperatorError, match=r"^the database: .*Connection refused$"):
        database.require_current(away)


def test_a_private_server_that_is_away_is_one_sentence_with_the_remedy(tmp_path):
    with pytest.raises(
        OperatorError, match=r"No such file or directory; `buildsrht up` starts it$"
    ):
        database.require_current(config.load({"VAR": str(tmp_path)}))
