"""Questions to a server: lint, graphql, whoami, a machine's address, what a shell completes."""

import json
import os
import pty
import subprocess

import pytest

from buildsrht.client import Client
from tests.buildsrht.cli.program import environment, start

GOOD = "image: debian/trixie\ntasks:\n- build: make\n"
BAD = "image: debian/trixie\ntasks:\n- Build: make\n- test: [1]\n"


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def ask(as_owner, write):
    """Send a query, with these options."""
    return lambda query, *options: as_owner("graphql", write("query.graphql", query), *options)


# lint


def test_a_good_manifest_has_nothing_said_about_it(as_owner, write, row_counts):
    assert as_owner("lint", write("a.yml", GOOD)) == (0, "", "")
    assert row_counts()["job"] == 0


def test_every_problem_of_every_manifest_is_a_line_with_its_place(as_owner, write):
    bad, good = write("bad.yml", BAD), write("good.yml", GOOD)

    done = as_owner("lint", bad, good, bad)

    assert done.status == 1
    lines = done.out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{bad}:3:3: tasks[0]: ")
    assert lines[1].startswith(f"{bad}:4:")


def test_problems_may_be_json(as_owner, write):
    done = as_owner("lint", write("bad.yml", BAD), "--json")

    problem = json.loads(done.out.splitlines()[0])
    assert (problem["line"], problem["column"], problem["path"]) == (3, 3, "tasks[0]")
    assert done.status == 1


# graphql


def test_a_query_prints_what_it_finds(ask, make_job):
    make_job("success", note="hello")

    done = ask("query($id: Int!) { job(id: $id) { note } }", "--var", "id=1")

    assert json.loads(done.out) == {"job": {"note": "hello"}}
    assert (done.status, done.err) == (0, "")


def test_a_variable_may_be_text_or_json(ask):
    query = "query($name: String!) { user(username: $name) { canonicalName } }"

    assert json.loads(ask(query, "--var", "name=owner").out) == {
        "user": {"canonicalName": "~owner"}
    }
    assert json.loads(ask(query, "--var", 'name="owner"').out)["user"]


def test_a_file_is_a_variable(ask, write, row_counts):
    query = """
    mutation($material: Upload!) {
      createSecret(secret: {type: FILE, path: "~/.netrc", upload: $material}) { uuid }
    }"""

    done = ask(query, "--file", f"material={write('netrc', 'text')}")

    assert done.status == 0, done.err
    assert row_counts()["secret"] == 1


def test_a_query_that_is_refused_is_one_sentence(ask):
    done = ask("query { nothing }")

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("buildsrht: Cannot query field 'nothing'")


def test_what_came_all_the_same_is_printed(ask, monkeypatch, token, owner):
    monkeypatch.setenv("BUILDSRHT_TOKEN", token(owner, "jobs:read"))

    done = ask('query { job(id: 7) { id } userByName(username: "owner") { id } }')

    assert done.status == 1
    assert json.loads(done.out) == {"job": None, "userByName": None}
    assert "PROFILE:RO" in done.err


@pytest.mark.parametrize("option", [("--var", "id"), ("--file", "=x")])
def test_a_variable_without_a_value_makes_no_sense(ask, option):
    assert ask("query { me { id } }", *option).status == 2


# list, update, whoami


def test_jobs_are_listed_newest_first(as_owner, make_job):
    make_job("success", note="one\nline", tags=["a", "b"])
    make_job("queued")

    assert as_owner("list") == (0, "2\tqueued\t\t\n1\tsuccess\ta/b\tone\n", "")
    assert [json.loads(line)["id"] for line in as_owner("list", "--json").out.splitlines()] == [
        2,
        1,
    ]
    assert as_owner("list", "--count", 1).out == "2\tqueued\t\t\n"


def test_more_jobs_than_a_page_has_are_listed(as_owner, make_job):
    for _ in range(60):
        make_job("pending")

    assert len(as_owner("list", "--count", 55).out.splitlines()) == 55


def test_what_is_said_about_a_job_is_changed(as_owner, make_job, fetch):
    make_job("success", note="old", tags=["a"])

    assert as_owner("update", 1, "--visibility", "private", "--tags", "b/c") == (0, "", "")
    assert (fetch(1).visibility, fetch(1).tags, fetch(1).note) == ("private", ["b", "c"], "old")
    as_owner("update", 1, "--note", "", "--tags", "")
    assert (fetch(1).note, fetch(1).tags) == (None, [])


def test_a_job_is_pinned_and_unpinned(as_owner, make_job, fetch):
    make_job("success")

    assert as_owner("pin", 1) == (0, "", "")
    assert fetch(1).pinned
    assert as_owner("unpin", 1) == (0, "", "")
    assert not fetch(1).pinned


def test_a_job_that_is_not_over_is_not_pinned(as_owner, make_job, fetch):
    make_job("queued")

    done = as_owner("pin", 1)

    assert done.status == 1
    assert "job 1 is queued: pin it when it is over" in done.err


def test_a_change_without_anything_makes_no_sense(as_owner, make_job):
    make_job("success")

    assert as_owner("update", 1).status == 2


def test_a_job_that_is_not_there_cannot_be_changed(as_owner):
    done = as_owner("update", 7, "--note", "new")

    assert done == (1, "", "buildsrht: there is no job 7\n")


def test_what_a_terminal_would_act_on_is_not_passed_on(as_owner, make_job):
    make_job("success", note="\x1b]0;mine\x07\x1b[2J")

    assert as_owner("list").out == "1\tsuccess\t\t�]0;mine��[2J\n"
    assert "\x1b" not in as_owner("show", 1).out


def test_whoami_may_be_json(as_owner, server):
    me = json.loads(as_owner("whoami", "--json").out)

    assert (me["canonicalName"], me["url"]) == ("~owner", server)


# ssh


@pytest.fixture
def ssh(server, token, owner, tmp_path):
    """Run `buildsrht ssh` with an OpenSSH that prints its arguments, one on a line."""
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    variables = environment(
        BUILDSRHT_URL=server,
        BUILDSRHT_TOKEN=token(owner),
        PATH=f"{program.parent}:{os.environ['PATH']}",
    )

    def ssh(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, output=None):
        with start("ssh", *arguments, env=variables, stdin=stdin, stdout=stdout) as process:
            out, err = process.communicate()
        out = os.read(output, 4096) if output else out
        return process.returncode, out.decode().splitlines(), err.decode()

    return ssh


def test_ssh_connects_to_the_gateway(ssh, backend):
    host = backend.config.web.origin.partition("://")[2].partition(":")[0]

    status, arguments, _ = ssh("12")

    assert status == 0
    assert arguments[0] == "-p"
    assert arguments[2:] == [f"builds@{host}", "connect", "12"]


def test_ssh_passes_a_command_on_with_its_options(ssh):
    _, arguments, shown = ssh("-v", "12", "ls", "-l", "--", "-v")

    assert arguments[-6:] == ["connect", "12", "ls", "-l", "--", "-v"]
    assert shown.startswith("ssh -p ")


@pytest.mark.parametrize("word", ["-oProxyCommand=touch pwned", "a b", "", "a$(b)"])
@pytest.mark.parametrize("field", ["sshUser", "sshHost"])
def test_what_a_server_says_is_never_an_option_of_ssh(as_owner, monkeypatch, field, word):
    settings = {"sshUser": "builds", "sshHost": "example.org", "sshPort": 22, field: word}
    monkeypatch.setattr(Client, "graphql", lambda *_: {"version": {"settings": settings}})
    monkeypatch.setattr(os, "execvp", lambda *_: pytest.fail("ssh was run"))

    done = as_owner("ssh", 1)

    assert done.status == 1
    assert "which is no address" in done.err


def test_ssh_asks_for_a_terminal_where_there_is_one(ssh):
    ours, theirs = pty.openpty()
    try:
        assert "-t" in ssh("12", stdin=theirs, stdout=theirs, output=ours)[1]
        assert "-t" not in ssh("12", "cat", "file", stdin=theirs)[1]
    finally:
        os.close(theirs)
        os.close(ours)


# completion


@pytest.fixture
def complete(server, token, owner):
    """What bash offers for the last of these words."""

    def complete(*words, **variables):
        asked = environment(
            **{"BUILDSRHT_URL": server, "BUILDSRHT_TOKEN": token(owner), **variables},
            _BUILDSRHT_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(["buildsrht", *words]),
            COMP_CWORD=str(len(words)),
        )
        with start(env=asked, stdout=subprocess.PIPE) as process:
            out, err = process.communicate()
        assert (process.returncode, err) == (0, b"")
        return [line.partition(",")[2] for line in out.decode().splitlines() if line]

    return complete


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(command, shell):
    done = command("completion", shell)

    assert done.status == 0
    assert "_BUILDSRHT_COMPLETE" in done.out


def test_bash_accepts_its_script(command):
    script = command("completion", "bash").out

    subprocess.run(["bash", "-euc", f"{script}\ncomplete -p buildsrht"], check=True)


def test_commands_numbers_tags_and_tasks_are_completed(complete, make_job):
    make_job("success", tags=["hello", "main"])

    assert complete("resub") == ["resubmit"]
    assert complete("show", "") == ["1"]
    assert complete("submit", "--tags", "he") == ["hello/main"]
    assert complete("logs", "1", "") == ["build", "test"]


@pytest.mark.parametrize(
    "variables",
    [
        {"BUILDSRHT_TOKEN": "no-token"},
        {"BUILDSRHT_TOKEN": ""},
        {"BUILDSRHT_URL": "http://127.0.0.1:1"},
        {"BUILDSRHT_URL": "nonsense"},
    ],
)
def test_a_server_that_does_not_help_is_no_error(complete, variables):
    assert complete("show", "", **variables) == []
