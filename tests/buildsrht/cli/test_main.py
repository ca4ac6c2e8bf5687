"""The command line as a whole: mistakes are one sentence, and status 2 or 1."""

import os
import signal
import subprocess
import sys

import pytest

from tests.buildsrht.cli.program import CHECKOUT, environment, start

HEAVY = (
    *("alembic", "argon2", "ariadne", "authlib", "flask", "graphql", "obstore", "redis", "rq"),
    *("sqlalchemy", "werkzeug", "yaml"),
)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cancl"], "buildsrht: No such command 'cancl'. Did you mean 'cancel'?"),
        (["lint"], "buildsrht lint: Missing argument 'FILE...'."),
        (["submit", "--folow"], "buildsrht submit: No such option '--folow'."),
        (["submit", "/no/such"], "buildsrht submit: Invalid value for '[FILE...]': '/no/such'"),
        (["show", "first"], "buildsrht show: Invalid value for 'ID': 'first'"),
        (["token", "create"], "buildsrht token create: Missing option '--user'."),
    ],
)
def test_a_command_line_that_makes_no_sense_is_one_sentence_and_status_2(
    command, arguments, sentence
):
    done = command(*arguments)

    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(sentence)
    assert done.err.count("\n") == 1


def test_without_a_command_the_commands_are_listed(command):
    done = command()

    assert done.status == 2
    assert "submit" in done.err


def test_every_command_says_what_it_is_for(command):
    use, operate = command("--help").out.partition("Use a server:")[2].split("Operate a server:")
    commands = [*use.strip().splitlines(), *operate.strip().splitlines()]

    assert len(commands) > 10
    assert [line for line in commands if len(line.split()) < 3] == []


# What a client needs


@pytest.mark.parametrize("url", ["builds.example.org", "ftp://builds.example.org", "http://a/b"])
def test_an_address_that_is_none_is_refused(command, monkeypatch, url):
    monkeypatch.setenv("BUILDSRHT_URL", url)

    done = command("show", 1)

    assert done.status == 1
    assert done.err == (
        f'buildsrht: BUILDSRHT_URL: expected http://host or https://host, got "{url}"\n'
    )


@pytest.mark.parametrize("token", [None, "", "two words", "schlüssel"])
def test_without_a_token_it_says_how_to_get_one(command, monkeypatch, token):
    if token is not None:
        monkeypatch.setenv("BUILDSRHT_TOKEN", token)

    done = command("show", 1)

    assert done.status == 1
    assert done.err.startswith("buildsrht: BUILDSRHT_TOKEN: must hold a token")
    assert "`buildsrht token create` makes one\n" in done.err


def test_a_server_that_is_away_is_one_sentence(command, monkeypatch):
    monkeypatch.setenv("BUILDSRHT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("BUILDSRHT_TOKEN", "secret")

    done = command("show", 1)

    assert (done.status, done.out) == (1, "")
    assert done.err == "buildsrht: http://127.0.0.1:1: [Errno 111] Connection refused\n"


def test_a_client_imports_nothing_that_only_a_server_needs():
    code = f"import sys, buildsrht.cli; print([name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", code]

    assert subprocess.check_output(command, cwd=CHECKOUT, text=True) == "[]\n"


# Interruptions


def test_a_reader_that_has_enough_ends_us_quietly():
    with start("--help", stdout=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_reader_that_has_enough_of_a_list_ends_us_quietly(server, token, owner, make_job):
    for _ in range(3):
        make_job("pending", note="x" * 4000)
    variables = environment(BUILDSRHT_URL=server, BUILDSRHT_TOKEN=token(owner))
    with start("list", "--json", env=variables, stdout=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_ctrl_c_while_waiting_ends_us_quietly_and_the_job_goes_on(
    server, token, owner, make_job, fetch, tmp_path
):
    (tmp_path / "build.yml").write_text("image: debian/trixie\ntasks:\n- build: make\n")
    variables = environment(BUILDSRHT_URL=server, BUILDSRHT_TOKEN=token(owner))
    with start("submit", "--wait", str(tmp_path / "build.yml"), env=variables) as process:
        assert process.stderr.readline() == f"{server}/api/jobs/1\n".encode()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().strip() == b""
    assert process.returncode == 130
    assert fetch(1).status == "queued"


def test_ctrl_c_ends_us_quietly_with_status_130(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # The fifo opens once the command reads it, which then waits for what we write.
    with start("submit", str(fifo)) as process, fifo.open("w"):
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().strip() == b""
    assert process.returncode == 130
