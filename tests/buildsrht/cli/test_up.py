"""`buildsrht up`: everything on one machine, from nothing, as one process that comes and goes."""

import re
import signal
import socket
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest

from buildsrht import processes
from tests.buildsrht.cli.program import environment, start


@contextmanager
def running(var, log, stop=signal.SIGINT):
    """`buildsrht up` on a free port, once it answers; yields its environment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    env = environment(VAR=str(var), PORT=port)
    with log.open("wb") as output:
        process = start("up", env=env, stdout=output, stderr=output)
    try:
        wait_until_healthy(port, process)
        yield env
    finally:
        process.send_signal(stop)
        process.wait(60)
    assert process.returncode == 0, log.read_text()


def wait_until_healthy(port, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    pytest.fail("buildsrht up does not answer")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def log(place):
    return place / "log"


@pytest.fixture(scope="module")
def env(place, log):
    """The environment of a server that is up."""
    with running(place / "var", log) as env:
        yield env


def run(command, env):
    return subprocess.run(command, shell=True, env=env, capture_output=True, text=True)


def test_the_commands_that_it_prints_let_a_client_in(env, log):
    exports = "\n".join(re.findall("^ *(export .*)$", log.read_text(), re.MULTILINE))
    program = re.search("^ *(.*) submit --follow FILE$", log.read_text(), re.MULTILINE)[1]

    shown = run(f"unset VAR PORT; {exports}; {program} show 1", env)

    assert shown.stderr == "buildsrht: there is no job 1\n"


def test_a_second_one_on_the_same_state_is_refused_in_one_sentence(env):
    with start("up", env=env) as process:
        message = process.stderr.read().decode()

    assert process.returncode == 1
    assert re.fullmatch(r"buildsrht: \S+/postgres: in use by process \d+.*\n", message)


def test_its_state_is_kept_and_its_servers_are_not(tmp_path):
    log, var = tmp_path / "log", tmp_path / "var"
    create = "token create --user alice --scopes jobs:read"
    with running(var, log, stop=signal.SIGTERM) as env:
        with start(*create.split(), env=env, stdout=subprocess.PIPE) as process:
            token = process.stdout.read().decode().strip()
        postgres = int((var / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

    assert processes.has_ended(postgres)
    with running(var, log) as env:
        url = f"http://127.0.0.1:{env['PORT']}"
        client = {**env, "BUILDSRHT_URL": url, "BUILDSRHT_TOKEN": token}
        with start("show", "1", env=client) as process:
            assert process.stderr.read() == b"buildsrht: there is no job 1\n"
