"""The commands of an operator."""

import subprocess

import pytest
from sqlalchemy import create_engine, make_url

from buildsrht import database
from buildsrht.services import tokens
from tests.buildsrht.cli.program import start


@pytest.fixture
def on_server(command, backend, monkeypatch):
    """Run a command with the configuration of the servers that run for the tests."""
    monkeypatch.setenv("VAR", str(backend.config.var))
    return command


def find(backend, text):
    with backend.transaction() as session:
        return tokens.find_token(session, text)


# token


def test_token_create_prints_a_token_and_nothing_else(on_server, backend):
    done = on_server("token", "create", "--user", "alice", "--scopes", "jobs:read jobs:write")

    assert (done.status, done.err) == (0, "")
    token = find(backend, done.out.removesuffix("\n"))
    assert token.user.name == "alice"
    assert token.scopes == ["jobs:read", "jobs:write"]


def test_token_create_notes_how_long_and_what_for(on_server, backend):
    done = on_server(
        *("token", "create", "--user", "alice", "--scopes", "jobs:read"),
        *("--days", "7", "--comment", "laptop"),
    )

    token = find(backend, done.out.strip())
    assert (token.expires - token.created).days in (6, 7)
    assert token.comment == "laptop"


def test_token_create_refuses_what_cannot_be_in_one_sentence(on_server):
    done = on_server("token", "create", "--user", "alice", "--scopes", "fly", "--days", "0")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("buildsrht: scopes: 'fly' is none of jobs:read, ")
    assert "; days: must be 1 to 3650, got 0" in done.err


def test_a_token_is_revoked_by_argument_or_by_standard_input(
    on_server, backend, token, owner, monkeypatch, tmp_path
):
    named, piped = token(owner), token(owner)
    (tmp_path / "token").write_text(piped + "\n")

    assert on_server("token", "revoke", named) == (0, "", "")
    with (tmp_path / "token").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert on_server("token", "revoke") == (0, "", "")

    assert [tokens.is_usable(find(backend, text)) for text in (named, piped)] == [False, False]


def test_an_unknown_token_cannot_be_revoked(on_server):
    assert on_server("token", "revoke", "nonsense") == (1, "", "buildsrht: no such token\n")


# db


@pytest.fixture
def on_empty_database(command, servers, monkeypatch, tmp_path):
    """Run a command on an empty database."""
    url = make_url(servers.database.url)
    with create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS fresh")
        connection.exec_driver_sql("CREATE DATABASE fresh")
    fresh = url.set(database="fresh").render_as_string(hide_password=False)
    (tmp_path / "config.ini").write_text(f"[database]\nurl = {fresh}\n")
    monkeypatch.setenv("BUILDSRHT_CONFIG", str(tmp_path / "config.ini"))
    return command


def test_db_init_makes_the_database_once_and_says_so(on_empty_database):
    newest = database.newest_revision()

    first, second = on_empty_database("db", "init"), on_empty_database("db", "init")

    assert first == (0, "", f"the database now has the schema, at revision {newest}\n")
    assert second == (0, "", f"the database has the schema already, at revision {newest}\n")


def test_db_migrate_says_when_there_is_nothing_to_do(on_empty_database):
    on_empty_database("db", "init")

    assert on_empty_database("db", "migrate").err.startswith("the database is already at revision")


@pytest.mark.parametrize(
    "arguments",
    [["web"], ["db", "migrate"], ["token", "create", "--user", "a", "--scopes", "jobs:read"]],
)
def test_commands_that_need_the_tables_say_how_to_make_them(on_empty_database, arguments):
    done = on_empty_database(*arguments)

    assert done == (1, "", "buildsrht: the database is empty: run `buildsrht db init`\n")


def test_a_database_that_is_away_is_one_sentence(command, monkeypatch, tmp_path):
    monkeypatch.setenv("VAR", str(tmp_path))

    done = command("db", "init")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("buildsrht: the database: connection to server on socket ")
    assert done.err.count("\n") == 1


# worker, janitor and image


@pytest.mark.parametrize(
    "arguments", [["worker", "--help"], ["janitor", "--help"], ["image", "build", "--help"]]
)
def test_the_commands_of_a_build_host_are_those_of_its_package(arguments):
    with start(*arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().decode().startswith(f"Usage: buildsrht {arguments[0]}")
