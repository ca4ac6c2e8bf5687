"""The database: made from schema.sql or step by step, the same either way, and only once."""

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, inspect, make_url

from buildsrht import config, database
from buildsrht.config import Config, Database
from buildsrht.errors import OperatorError
from buildsrht.models import Base

NEXT_STEP = """
from alembic import op

revision = "9000"
down_revision = "0005"


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
    (migrations / "versions" / "r9000_shoes.py").write_text(NEXT_STEP)
    return lambda: monkeypatch.setattr(database, "MIGRATIONS", migrations)


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
        alembic = AlembicConfig(attributes={"connection": connection})
        alembic.set_main_option("script_location", str(database.MIGRATIONS))
        command.upgrade(alembic, to)


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


def test_of_two_migrates_at_once_one_does_it(empty, next_release):
    database.init(empty)
    next_release()

    with ThreadPoolExecutor() as threads:
        done = list(threads.map(database.migrate, [empty] * 4))

    assert sorted(done) == [False, False, False, True]


def test_a_migrate_gives_up_soon_on_a_table_that_is_in_use(empty, next_release, monkeypatch):
    database.init(empty)
    next_release()
    monkeypatch.setattr(database, "LOCK_TIMEOUT", "50ms")

    with connected(empty.database.url) as connection:
        connection.exec_driver_sql('BEGIN; LOCK TABLE "user"')
        with pytest.raises(OperatorError, match="lock timeout"):
            database.migrate(empty)
    assert database.migrate(empty) is True


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


# require_current


def test_an_empty_database_is_refused_with_the_remedy(empty):
    with pytest.raises(OperatorError, match="empty: run `buildsrht db init`"):
        database.require_current(empty)


def test_an_older_database_is_refused_with_the_remedy(empty, next_release):
    database.init(empty)
    next_release()

    with pytest.raises(
        OperatorError, match=r"at revision 0005 .* 9000: run `buildsrht db migrate`"
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
