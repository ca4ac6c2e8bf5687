"""Hooks of forges on their pages, and what came of what was reported."""

import base64

import pytest
from sqlalchemy import select

from buildsrht.hooks.event import Event, Update
from buildsrht.models import Forge, Hook, PushStatus
from buildsrht.services import hooks
from buildsrht.services.hooks import NewHook

REPOSITORY = "https://forge.example.org/ada/hello"
PUBLIC_KEY = base64.b64encode(bytes(32)).decode()
EVENT = Event((Update("refs/heads/main", "1" * 40),)).as_json()


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


@pytest.fixture
def add(browser):
    def send(**fields):
        browser.open("/hooks")
        return browser.send("/hooks", **{"forge": "github", "repository": REPOSITORY, **fields})

    return send


@pytest.fixture
def make_hook(backend, owner):
    def make(forge=Forge.GITHUB, **wanted):
        return hooks.create_hook(backend, owner.name, NewHook(forge, REPOSITORY, **wanted))[0]

    return make


@pytest.fixture
def only_hook(backend):
    def read():
        with backend.transaction() as session:
            return session.scalars(select(Hook)).one()

    return read


@pytest.mark.parametrize(
    ("forge", "field"),
    [("github", "Payload URL"), ("gitlab", "Signing token"), ("gitea", "Target URL")],
)
def test_a_hook_is_made_and_says_what_to_set_at_the_forge(
    backend, browser, add, only_hook, forge, field
):
    add(forge=forge, visibility="private", pull_requests="on")

    hook = only_hook()
    assert (hook.forge, hook.visibility, hook.pull_requests) == (forge, "private", True)
    assert hooks.hook_url(backend, hook) in browser.text
    secret = hooks.reveal_proof(backend, hook)
    assert secret in browser.text
    assert field in browser.text
    for path in ("/hooks", f"/hooks/{hook.uuid}/pushes"):
        browser.open(path)
        assert REPOSITORY in browser.text
        assert secret not in browser.page.text


def test_sourcehut_signs_with_its_own_key(backend, browser, add, only_hook):
    page = add(forge="sourcehut", public_key=PUBLIC_KEY)

    assert hooks.reveal_proof(backend, only_hook()) == PUBLIC_KEY
    assert "The secret of your hook" not in browser.text
    assert "GIT_POST_RECEIVE" in browser.text
    assert '/secret"' not in page.text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"forge": "bitbucket"}, "forge"),
        ({"visibility": "all"}, "visibility"),
        ({"repository": "git@forge.example.org:ada/hello"}, "repository"),
        ({"forge": "sourcehut"}, "public_key"),
        ({"public_key": PUBLIC_KEY}, "public_key"),
        ({"credential": "token"}, "credential"),
        ({"credential": "ada:token", "pull_requests": "on"}, "pull_requests"),
    ],
    ids=lambda case: case if isinstance(case, str) else "+".join(case),
)
def test_what_cannot_be_is_refused_at_its_field(browser, add, row_counts, fields, field):
    page = add(**fields)

    assert page.status_code == 400
    assert f'id="{field}-fault"' in page.text
    assert "token" not in browser.form("/hooks").fields["credential"]
    if "repository" not in fields:
        assert browser.form("/hooks").fields["repository"] == REPOSITORY
    assert row_counts()["hook"] == 0


def test_there_is_an_end_to_how_many(browser, add, monkeypatch):
    monkeypatch.setattr(hooks, "MOST", 1)

    assert [add().status_code, add().status_code] == [200, 400]
    assert "~owner has 1 hooks" in browser.text


def test_a_hook_is_changed(backend, browser, make_hook, only_hook):
    hook = make_hook(credential="ada:first")
    change = f"/hooks/{hook.uuid}/change"
    browser.open(f"/hooks/{hook.uuid}/pushes")
    browser.send(change, visibility="public")
    assert only_hook().visibility == "public"
    assert hooks.reveal_credential(backend, only_hook()) == b"ada:first"

    browser.send(change, credential="ada:second")
    assert hooks.reveal_credential(backend, only_hook()) == b"ada:second"

    browser.send(change, forgets_credential="on", pull_requests="on")
    assert (only_hook().credential, only_hook().pull_requests) == (None, True)

    browser.send(change, pull_requests=None)
    assert not only_hook().pull_requests


def test_a_change_that_cannot_be_is_refused_at_its_field(browser, make_hook, only_hook):
    hook = make_hook()
    browser.open(f"/hooks/{hook.uuid}/pushes")

    page = browser.send(f"/hooks/{hook.uuid}/change", visibility="public", credential="x")

    assert page.status_code == 400
    assert 'id="credential-fault"' in page.text
    assert browser.form(f"/hooks/{hook.uuid}/change").fields["visibility"] == "public"
    assert only_hook().visibility == "unlisted"


def test_a_new_secret_is_shown_once(backend, browser, make_hook, only_hook):
    hook = make_hook()
    before = hooks.reveal_proof(backend, hook)
    browser.open(f"/hooks/{hook.uuid}/pushes")

    browser.send(f"/hooks/{hook.uuid}/secret")

    after = hooks.reveal_proof(backend, only_hook())
    assert after != before
    assert after in browser.text
    browser.open(f"/hooks/{hook.uuid}/pushes")
    assert after not in browser.page.text


def test_what_was_pushed_says_what_came_of_it_and_why(backend, browser, make_hook):
    hook = make_hook()
    for report_id in ("first", "second"):
        hooks.receive(backend, hook, report_id, EVENT)
    failed = hooks.claim_push(backend, 1)
    hooks.finish_push(backend, failed, PushStatus.FAILED, "no <b>tasks</b> \u202e")

    page = browser.open(f"/hooks/{hook.uuid}/pushes")

    assert "waiting" in browser.text
    assert "failed" in browser.text
    assert "refs/heads/main@111111111111" in browser.text
    assert "no &lt;b&gt;tasks&lt;/b&gt; \N{REPLACEMENT CHARACTER}" in page.text


def test_what_was_built_leads_to_its_jobs(backend, browser, make_hook, make_job):
    hook = make_hook()
    push = hooks.receive(backend, hook, "first", EVENT)
    job = make_job(idempotency_key=hooks.job_key(push, "x"))
    hooks.finish_push(backend, hooks.claim_push(backend, 1), PushStatus.BUILT, None)

    browser.open(f"/hooks/{hook.uuid}/pushes")

    assert f"/~owner/job/{job.id}" in browser.links


@pytest.mark.parametrize("verb", ["change", "secret", "delete"])
def test_nobody_elses_hook_is_touched(backend, browse, stranger, make_hook, only_hook, verb):
    hook = make_hook()
    proof = hooks.reveal_proof(backend, hook)
    other = browse(stranger)
    other.open("/hooks")
    assert REPOSITORY not in other.text
    word = other.form("/logout").fields["csrf"]

    answer = other.client.post(
        f"/hooks/{hook.uuid}/{verb}", data={"csrf": word, "visibility": "public"}
    )

    assert answer.status_code == 404
    assert other.client.get(f"/hooks/{hook.uuid}/pushes").status_code == 404
    assert only_hook().visibility == "unlisted"
    assert hooks.reveal_proof(backend, only_hook()) == proof


def test_a_hook_is_deleted(browser, make_hook, row_counts):
    hook = make_hook()
    browser.open(f"/hooks/{hook.uuid}/pushes")

    browser.send(f"/hooks/{hook.uuid}/delete")

    assert browser.path == "/hooks"
    assert row_counts()["hook"] == 0
