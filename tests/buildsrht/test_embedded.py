"""The private servers: there when asked for, alone on their directory, and gone afterwards."""

import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from buildsrht import embedded, processes
from buildsrht.errors import OperatorError


def ask_postgres(url, query):
    with create_engine(url, poolclass=NullPool).begin() as connection:
        result = connection.execute(text(query))
        return result.scalar() if result.returns_rows else None


def ask_redis(url):
    with closing(Redis.from_url(url)) as client:
        return client.info("server")


def postgres_pid(directory):
    return int((directory / "data" / "postmaster.pid").read_text().split()[0])


@contextmanager
def fast_postgres(directory):
    with embedded.postgres(directory, durable=False) as url:
        yield url


def start_and_stop(server, directory):
    with server(directory):
        pass


SERVERS = pytest.mark.parametrize("server", [fast_postgres, embedded.redis])


# What a server is


def test_postgres_answers_at_its_url_and_listens_nowhere_else(tmp_path):
    with fast_postgres(tmp_path) as url:
        assert url == embedded.postgres_url(tmp_path)
        assert ask_postgres(url, "SELECT current_database()") == "buildsrht"
        assert ask_postgres(url, "SHOW server_encoding") == "UTF8"
        assert ask_postgres(url, "SHOW listen_addresses") == ""


def test_redis_answers_at_its_url_and_listens_nowhere_else(tmp_path):
    with embedded.redis(tmp_path) as url:
        assert url == embedded.redis_url(tmp_path)
        assert ask_redis(url)["tcp_port"] == 0


@SERVERS
def test_only_we_may_enter_its_directory(tmp_path, server):
    directory = tmp_path / "server"
    directory.mkdir(mode=0o755)

    with server(directory):
        assert directory.stat().st_mode & 0o077 == 0


def test_a_path_with_unusual_letters_is_fine(tmp_path):
    odd = tmp_path / "50% ä?&#"

    with fast_postgres(odd / "pg") as url:
        assert ask_postgres(url, "SELECT 1") == 1
    with embedded.redis(odd / "redis") as url:
        assert ask_redis(url)


def test_the_variables_of_libpq_do_not_lead_to_another_server(tmp_path, monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATABASE", "elsewhere")

    with fast_postgres(tmp_path) as url:
        assert ask_postgres(url, "SELECT current_database()") == "buildsrht"


def test_postgres_is_durable_unless_told_otherwise(tmp_path):
    with embedded.postgres(tmp_path) as url:
        assert ask_postgres(url, "SHOW fsync") == "on"
        assert ask_postgres(url, "SHOW synchronous_commit") == "on"


# How it ends, and what is left


def test_postgres_is_gone_after_the_block_and_its_data_is_not(tmp_path):
    with fast_postgres(tmp_path) as url:
        pid = postgres_pid(tmp_path)
        ask_postgres(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert processes.has_ended(pid)
    with pytest.raises(OperationalError):
        ask_postgres(url, "SELECT 1")

    with fast_postgres(tmp_path) as url:
        assert ask_postgres(url, "SELECT answer FROM kept") == 42


def test_postgres_does_not_wait_for_its_clients_to_leave(tmp_path):
    with fast_postgres(tmp_path) as url:
        lingering = create_engine(url).connect()
        pid = postgres_pid(tmp_path)
    assert processes.has_ended(pid)
    lingering.invalidate()


def test_redis_is_gone_after_the_block(tmp_path):
    with embedded.redis(tmp_path) as url:
        pid = ask_redis(url)["process_id"]
    assert processes.has_ended(pid)
    with pytest.raises(RedisConnectionError):
        ask_redis(url)


@SERVERS
def test_it_is_gone_when_the_block_fails(tmp_path, server):
    with pytest.raises(InterruptedError), server(tmp_path):
        raise InterruptedError

    start_and_stop(server, tmp_path)


# Alone on its directory


@SERVERS
def test_a_second_one_on_the_same_directory_is_refused(tmp_path, server):
    rule = f"{tmp_path}: in use by process {os.getpid()}, and serves one at a time"

    with server(tmp_path), pytest.raises(OperatorError, match=rule):
        start_and_stop(server, tmp_path)


def test_a_refused_second_start_leaves_the_first_one_alone(tmp_path):
    with fast_postgres(tmp_path) as url:
        with pytest.raises(OperatorError):
            start_and_stop(fast_postgres, tmp_path)
        assert ask_postgres(url, "SELECT 1") == 1


# Owners that were killed

OWNER = """
import sys, time
from pathlib import Path
from buildsrht import embedded

directory = Path(sys.argv[1])
with embedded.postgres(directory / "postgres"), embedded.redis(directory / "redis"):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that runs both servers under `tmp_path`, until its standard input closes."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process


def test_the_servers_die_when_their_owner_is_killed(owner, tmp_path):
    postgres = postgres_pid(tmp_path / "postgres")
    redis = ask_redis(embedded.redis_url(tmp_path / "redis"))["process_id"]

    owner.kill()

    assert processes.has_ended(postgres, wait_seconds=30)
    assert processes.has_ended(redis, wait_seconds=30)


def test_after_the_owner_was_killed_a_start_at_once_succeeds(owner, tmp_path):
    ask_postgres(embedded.postgres_url(tmp_path / "postgres"), "CREATE TABLE kept ()")

    owner.kill()
    owner.wait()

    with fast_postgres(tmp_path / "postgres") as url, embedded.redis(tmp_path / "redis"):
        assert ask_postgres(url, "SELECT count(*) FROM kept") == 0


def test_after_the_server_was_killed_too_its_committed_data_is_recovered(owner, tmp_path):
    ask_postgres(
        embedded.postgres_url(tmp_path / "postgres"), "CREATE TABLE kept AS SELECT 42 AS answer"
    )
    os.kill(postgres_pid(tmp_path / "postgres"), signal.SIGKILL)
    owner.kill()
    owner.wait()

    with fast_postgres(tmp_path / "postgres") as url:
        assert ask_postgres(url, "SELECT answer FROM kept") == 42


def test_marks_of_a_server_from_before_a_reboot_are_no_obstacle(tmp_path):
    with fast_postgres(tmp_path):
        pid_file = tmp_path / "data" / "postmaster.pid"
        mark = pid_file.read_text()
    # The number now belongs to somebody who has nothing to do with us.
    somebody = processes.start(["sleep", "600"])
    pid_file.write_text(mark.replace(mark.split()[0], str(somebody.pid), 1))
    (tmp_path / "run" / ".s.PGSQL.5432.lock").write_text(f"{somebody.pid}\n")

    with fast_postgres(tmp_path) as url:
        assert ask_postgres(url, "SELECT 1") == 1

    processes.stop(somebody, signal.SIGTERM, grace_seconds=10)


def test_an_interrupted_first_use_is_no_obstacle(tmp_path):
    (tmp_path / "data.new" / "base").mkdir(parents=True)

    with fast_postgres(tmp_path) as url:
        assert ask_postgres(url, "SELECT 1") == 1


# What it says when it cannot


@SERVERS
def test_a_path_too_long_for_a_socket_is_refused_with_the_limit_and_the_remedy(tmp_path, server):
    with pytest.raises(OperatorError, match="at most 107; choose a shorter VAR"):
        start_and_stop(server, tmp_path / ("x" * 100))


@SERVERS
def test_a_directory_that_cannot_be_made_is_named(tmp_path, server):
    (tmp_path / "file").touch()

    with pytest.raises(OperatorError, match=f"{tmp_path}/file: File exists"):
        start_and_stop(server, tmp_path / "file")


def test_a_server_that_ends_while_it_starts_shows_the_end_of_its_log(tmp_path):
    start_and_stop(fast_postgres, tmp_path)
    (tmp_path / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")

    with pytest.raises(OperatorError, match=r"(?s)ended while it started.*no_such_setting"):
        start_and_stop(fast_postgres, tmp_path)


def test_a_server_that_never_answers_is_given_up_and_ended(tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(embedded, "START_SECONDS", 0.5)

    with pytest.raises(OperatorError, match=r"did not answer within 0.5 seconds"):
        start_and_stop(embedded.redis, tmp_path / "redis")

    assert processes.has_ended(int((tmp_path / "pid").read_text()))


def test_a_missing_program_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(OperatorError, match="install the Debian package redis-server"):
        start_and_stop(embedded.redis, tmp_path / "redis")
