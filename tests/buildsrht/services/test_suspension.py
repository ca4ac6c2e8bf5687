"""Who is suspended gets in nowhere, whatever they bring; what they have begun goes on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import asyncssh
import pytest

from buildsrht.errors import Conflict, Forbidden, NotFound
from buildsrht.hooks import building
from buildsrht.hooks.event import Event, Update
from buildsrht.models import Forge, JobStatus, Push, PushStatus
from buildsrht.services import (
    accounts,
    administration,
    clients,
    grants,
    hooks,
    jobs,
    sign_ins,
    ssh_keys,
)
from buildsrht.services.hooks import NewHook
from buildsrht.services.users import SUSPENDED, require_user
from tests.build_host import claim, finish
from tests.buildsrht.oauth.asking import CHALLENGE, REDIRECT_URI
from tests.contract.conftest import PUBLIC_KEY

PASSWORD = "correct horse battery"
EVENT = Event((Update("refs/heads/main", "1" * 40),)).as_json()


@pytest.fixture
def suspend(backend, admin):
    return lambda user: administration.suspend(backend, admin, user.name)


@pytest.fixture
def restore(backend, admin):
    return lambda user: administration.restore(backend, admin, user.name)


@pytest.fixture
def fetch_user(backend):
    def fetch(name):
        with backend.transaction() as session:
            return require_user(session, name)

    return fetch


# --- ways in --------------------------------------------------------------------------------------


def test_tokens_are_refused_and_say_why_and_are_good_again_afterwards(
    client_of, owner, stranger, suspend, restore
):
    client, other = client_of(owner), client_of(stranger)

    suspend(owner)
    for method, path in (("GET", "/api/jobs"), ("POST", "/api/jobs"), ("POST", "/query")):
        refused = client.open(path, method=method, json={})
        assert refused.status_code == 401
        assert SUSPENDED in refused.text
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert other.get("/api/jobs").status_code == 200

    restore(owner)
    assert client.get("/api/jobs").status_code == 200


def test_a_token_without_the_scope_says_that_it_is_suspended_too(client_of, owner, suspend):
    client = client_of(owner, "profile:read")

    suspend(owner)

    assert client.get("/api/jobs").status_code == 401


def test_browsers_are_signed_out_for_good(browse, owner, suspend, restore):
    browser = browse(owner)

    for change in (suspend, restore):
        change(owner)
        browser.open("/account")
        assert browser.path.startswith("/login")


def test_nobody_signs_in_and_who_knows_the_password_is_told_why(
    backend, browse, owner, suspend, restore
):
    accounts.set_password(backend, "owner", PASSWORD)
    suspend(owner)
    browser = browse()

    browser.open("/login")
    assert browser.send("/login", name="owner", password="something else").status_code == 401
    assert SUSPENDED not in browser.text
    assert browser.send("/login", name="owner", password=PASSWORD).status_code == 403
    assert SUSPENDED in browser.text
    assert browser.client.get_cookie("buildsrht") is None

    restore(owner)
    browser.open("/login")
    browser.send("/login", name="owner", password=PASSWORD)
    assert browser.path == "/"


def test_a_sign_in_that_is_not_ended_opens_nothing_either(backend, owner, suspend, fetch_user):
    """Two at the same moment: whichever is first, nobody is signed in in the end."""
    barrier = threading.Barrier(2)

    def sign_in():
        barrier.wait()
        try:
            return sign_ins.begin(backend, owner)
        except Forbidden:
            return None

    def end():
        barrier.wait()
        suspend(owner)

    with ThreadPoolExecutor(2) as pool:
        begun, ended = pool.submit(sign_in), pool.submit(end)
        text, _ = begun.result(), ended.result()

    with backend.transaction() as session:
        assert text is None or sign_ins.find_user(session, text) is None


def test_programs_get_no_new_tokens(backend, owner, stranger, suspend, restore):
    client, _ = clients.register_client(
        backend, stranger, name="Dashboard", redirect_uris=[REDIRECT_URI]
    )
    program = clients.program_of(client)
    codes = [
        grants.authorize(backend, owner, program, ["jobs:read"], REDIRECT_URI, CHALLENGE)
        for _ in range(2)
    ]
    issued = grants.issue(backend, grants.find_code(backend, codes[0]))

    suspend(owner)
    assert grants.find_code(backend, codes[1]) is None
    assert grants.find_refresh_token(backend, issued.refresh_token) is None
    with backend.transaction() as session:
        found = grants.find_issued(session, issued.access_token)
        assert not grants.is_good(found, grants.grant_of(session, found))

    restore(owner)
    assert grants.find_refresh_token(backend, issued.refresh_token)


def test_keys_open_the_gateway_no_longer(backend, owner, suspend, restore):
    kept = ssh_keys.add_key(backend, owner.name, PUBLIC_KEY)
    key = asyncssh.import_public_key(PUBLIC_KEY)

    def is_let_in() -> bool:
        with backend.transaction() as session:
            return ssh_keys.find_key(session, key) is not None

    suspend(owner)
    assert not is_let_in()
    with pytest.raises(Forbidden, match="suspended"):
        ssh_keys.require_key(backend, kept.id)

    restore(owner)
    assert is_let_in()
    ssh_keys.require_key(backend, kept.id)


# --- what is submitted ----------------------------------------------------------------------------


def test_nothing_is_submitted(backend, owner, manifest, suspend, fetch_user, row_counts):
    suspend(owner)
    before = row_counts()
    submission = jobs.Submission(jobs.read_manifest(backend.catalogue, manifest))

    with pytest.raises(Forbidden, match="suspended"):
        jobs.submit(backend, fetch_user("owner"), submission)

    assert row_counts() == before


def test_what_a_forge_reports_is_refused_and_what_it_has_reported_not_built(
    backend, owner, suspend, row_counts
):
    new = NewHook(Forge.GITHUB, "https://forge.example.org/ada/hello")
    uuid = hooks.create_hook(backend, owner.name, new)[0].uuid

    def report(name: str) -> Push | None:
        with backend.transaction() as session:
            hook = hooks.require_hook(session, uuid)
        return hooks.receive(backend, hook, name, EVENT)

    waiting = report("first")
    suspend(owner)
    before = row_counts()

    with pytest.raises(Forbidden, match="suspended"):
        report("second")
    building.perform(backend, waiting.id)

    assert row_counts() == before
    with backend.transaction() as session:
        push = session.get_one(Push, waiting.id)
    assert (push.status, push.reason) == (PushStatus.FAILED, SUSPENDED)


def test_jobs_go_on(backend, owner, make_job, fetch, suspend):
    job, queued = make_job("queued"), make_job("queued")
    run = claim(backend, job.id, "host-1")

    suspend(owner)

    finish(backend, run, JobStatus.SUCCESS)
    assert fetch(job.id).status == JobStatus.SUCCESS
    assert claim(backend, queued.id, "host-1")


# --- who may --------------------------------------------------------------------------------------


def test_only_administrators_and_the_operator_may(backend, admin, owner, stranger, fetch_user):
    for do in (administration.suspend, administration.restore):
        with pytest.raises(NotFound):
            do(backend, owner, "stranger")
    assert fetch_user("stranger").suspended is None

    administration.suspend(backend, None, "stranger")
    assert fetch_user("stranger").suspended
    administration.restore(backend, None, "stranger")
    assert fetch_user("stranger").suspended is None


def test_the_last_administrator_is_not_suspended(backend, admin, make_user, fetch_user, suspend):
    with pytest.raises(Conflict):
        suspend(admin)
    assert fetch_user("admin").suspended is None

    suspend(make_user("other", admin=True))
    with pytest.raises(Conflict):
        suspend(admin)


def test_where_nobody_administers_the_operator_suspends_all_the_same(backend, owner, fetch_user):
    administration.suspend(backend, None, "owner")

    assert fetch_user("owner").suspended


def test_to_suspend_twice_keeps_since_when(owner, suspend, fetch_user):
    suspend(owner)
    since = fetch_user("owner").suspended

    suspend(owner)

    assert fetch_user("owner").suspended == since


def test_nobody_unknown_is_suspended(backend, admin):
    for do in (administration.suspend, administration.restore):
        with pytest.raises(NotFound):
            do(backend, admin, "nobody")
