"""`buildsrht hook`."""

import re

import pytest
from sqlalchemy import select

from buildsrht.hooks.event import Event, Update
from buildsrht.models import Hook, PushStatus
from buildsrht.services import hooks
from tests.buildsrht.hooks.reports import SOURCEHUT_PUBLIC_KEY

URL = "https://forge.example.org/ada/hello"
CREATE = ("hook", "create", "--user", "ada", "--repository", URL)


@pytest.fixture
def on_server(command, backend, monkeypatch):
    """Run a command with the configuration of the servers that run for the tests."""
    monkeypatch.setenv("VAR", str(backend.config.var))
    return command


@pytest.fixture
def the_hook(backend):
    def find():
        with backend.transaction() as session:
            return session.scalars(select(Hook)).one()

    return find


def test_create_prints_the_address_and_the_secret_this_once(on_server, backend, the_hook):
    done = on_server(*CREATE, "--forge", "github")

    hook = the_hook()
    assert (done.status, done.err) == (0, "")
    assert done.out == (
        f"url {hooks.hook_url(backend, hook)}\nsecret {hooks.reveal_proof(backend, hook)}\n"
    )
    assert (hook.owner.name, hook.repository, hook.visibility) == ("ada", URL, "unlisted")
    assert not hook.pull_requests


def test_create_takes_what_a_hook_can_be_told(on_server, backend, the_hook, tmp_path):
    on_server(*CREATE, "--forge", "gitea", "--visibility", "private", "--pull-requests")
    hook = the_hook()
    assert (hook.forge, hook.visibility, hook.pull_requests) == ("gitea", "private", True)
    hooks.delete_hook(backend, "ada", hook.uuid)

    (tmp_path / "credential").write_text("ada:t0ken\n")
    done = on_server(*CREATE, "--forge", "gitlab", "--credential-file", tmp_path / "credential")
    assert hooks.reveal_credential(backend, the_hook()) == b"ada:t0ken"
    assert "t0ken" not in done.out


def test_sourcehut_gets_no_secret_for_it_has_a_key(on_server, the_hook):
    done = on_server(*CREATE, "--forge", "sourcehut", "--public-key", SOURCEHUT_PUBLIC_KEY)

    assert re.fullmatch(r"url \S+\n", done.out)
    assert the_hook().forge == "sourcehut"


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--forge", "sourcehut"), 1, "buildsrht: public_key: "),
        (("--forge", "svn"), 2, "buildsrht hook create: "),
        (("--forge", "github", "--credential-file", "/nonexistent"), 2, "buildsrht hook create: "),
    ],
)
def test_a_hook_that_cannot_be_is_refused_in_one_sentence(
    on_server, row_counts, options, status, said
):
    before = row_counts()

    done = on_server(*CREATE, *options)

    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(said)
    assert done.err.count("\n") == 1
    assert row_counts() == before


def test_list_shows_no_secret(on_server, backend, the_hook):
    on_server(*CREATE, "--forge", "github", "--pull-requests")
    hook = the_hook()

    done = on_server("hook", "list", "--user", "ada")

    assert done == (0, f"{hook.uuid} github {URL} unlisted pull-requests\n", "")
    assert on_server("hook", "list", "--user", "eve") == (0, "", "")


def test_delete_is_for_the_hooks_own_user(on_server, backend, the_hook, row_counts):
    on_server(*CREATE, "--forge", "github")
    uuid = the_hook().uuid

    refused = on_server("hook", "delete", "--user", "eve", uuid)
    assert refused == (1, "", f"buildsrht: there is no hook {uuid}\n")
    assert on_server("hook", "delete", "--user", "ada", uuid) == (0, "", "")
    assert row_counts()["hook"] == 0
    assert on_server("hook", "delete", "--user", "ada", "x").status == 2


def test_pushes_are_listed_with_what_came_of_them(on_server, backend, the_hook):
    on_server(*CREATE, "--forge", "github")
    event = Event((Update("refs/heads/main", "1" * 40),)).as_json()
    first = hooks.receive(backend, the_hook(), "first", event)
    hooks.receive(backend, the_hook(), "second", event)
    ours = hooks.claim_push(backend, first.id)
    hooks.finish_push(backend, ours, PushStatus.FAILED, "no such thing")

    done = on_server("hook", "pushes", "--user", "ada", the_hook().uuid)

    when = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    ref = "refs/heads/main@111111111111"
    assert re.fullmatch(
        rf"2 {when} waiting - {ref}\n1 {when} failed - {ref}\n    no such thing\n", done.out
    )
    assert on_server("hook", "pushes", "--user", "ada").out == done.out
    assert on_server("hook", "pushes", "--user", "eve").out == ""
