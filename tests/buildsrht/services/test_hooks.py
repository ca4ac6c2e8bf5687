"""Hooks as they are made and kept, and pushes from their report to their end."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, text, update

from buildsrht.backend import open_redis
from buildsrht.errors import BadInput, Conflict, NotFound, OperatorError
from buildsrht.hooks.event import Event, Update
from buildsrht.models import Forge, Hook, Push, PushStatus, Visibility
from buildsrht.queue import push_queue
from buildsrht.services import hooks
from buildsrht.services.hooks import HookSettings, NewHook

URL = "https://forge.example.org/ada/hello"
PUBLIC_KEY = base64.b64encode(bytes(32)).decode()
EVENT = Event((Update("refs/heads/main", "1" * 40),)).as_json()


@pytest.fixture
def make(backend):
    def make_hook(user="ada", **wanted):
        new = NewHook(**{"forge": Forge.GITHUB, "repository": URL, **wanted})
        return hooks.create_hook(backend, user, new)

    return make_hook


@pytest.fixture
def hook(make):
    return make()[0]


@pytest.fixture
def push(backend, hook):
    return hooks.receive(backend, hook, "first", EVENT)


@pytest.fixture
def fetch_push(backend):
    def fetch(push):
        with backend.transaction() as session:
            return session.get_one(Push, push.id)

    return fetch


def set_push(backend, push, **values):
    with backend.transaction() as session:
        session.execute(update(Push).where(Push.id == push.id).values(**values))


AGO = func.now() - timedelta(minutes=1)


# --- hooks ------------------------------------------------------------------------------------


def test_a_hook_is_its_users_and_has_an_address_and_a_secret_of_its_own(backend, make):
    first, secret = make(visibility=Visibility.PRIVATE, pull_requests=True)
    second, other = make()

    assert first.owner.name == "ada"
    assert (first.visibility, first.pull_requests) == ("private", True)
    assert hooks.hook_url(backend, first) == f"{backend.config.web.origin}/hooks/{first.uuid}"
    assert first.uuid != second.uuid
    assert secret != other
    assert len(secret) > 40


def test_a_secret_is_sealed_and_bound_to_its_hook(backend, make):
    first, secret = make()
    second, _ = make()

    assert hooks.reveal_proof(backend, first) == secret
    assert secret.encode() not in first.sealed
    second.sealed = first.sealed
    with pytest.raises(OperatorError):
        hooks.reveal_proof(backend, second)


def test_the_secret_of_a_gitlab_is_also_a_key(make):
    _, secret = make(forge=Forge.GITLAB)

    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_of_sourcehut_its_public_key_is_kept(backend, make):
    hook, proof = make(forge=Forge.SOURCEHUT, public_key=PUBLIC_KEY)

    assert proof == hooks.reveal_proof(backend, hook) == PUBLIC_KEY


def test_a_credential_is_sealed_on_its_own(backend, make):
    hook, _ = make(credential="ada:t0ken")

    assert hooks.reveal_credential(backend, hook) == b"ada:t0ken"
    assert b"t0ken" not in hook.credential
    assert hooks.reveal_credential(backend, make()[0]) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://forge.example.org/~ada/hello",
        "https://forge.example.org:8443/group/sub.group/hello.git",
        "http://10.0.0.5:3000/gitea/ada/hello",
        "https://forge.example.org/ada/hello/",
    ],
)
def test_a_repository_is_a_plain_url(make, url):
    assert make(repository=url)[0].repository == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "forge.example.org/ada/hello",
        "ssh://git@forge.example.org/ada/hello",
        "git@forge.example.org:ada/hello",
        "file:///srv/hello",
        "https://ada:token@forge.example.org/ada/hello",
        "https://forge.example.org",
        "https://forge.example.org/",
        "https://forge.example.org/hello.git",
        "https://forge.example.org/ada/hello?x=1",
        "https://forge.example.org/ada/hello#main",
        "https://forge.example.org/ada/../hello",
        "https://forge.example.org/ada//hello",
        "https://forge.example.org/ada/he llo",
        "https://forge.example.org/ada/hello\n",
        "https://forge.example.org/ada/(hello)",
        "https://forge.example.org:0/ada/hello",
        "https://forge.example.org:65536/ada/hello",
        "https://[::1]/ada/hello",
        "https://-forge.example.org/ada/hello",
        "https://forge.example.org/.git",
        "https://forge.example.org/ada/.git",
        "https://forge.example.org/" + "x" * 1024,
    ],
)
def test_a_repository_that_could_mean_something_else_is_refused(make, row_counts, url):
    before = row_counts()

    with pytest.raises(BadInput) as refused:
        make(repository=url)

    assert {error.field for error in refused.value.errors} == {"repository"}
    assert row_counts() == before


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"forge": Forge.SOURCEHUT}, "public_key"),
        ({"forge": Forge.SOURCEHUT, "public_key": "x"}, "public_key"),
        ({"forge": Forge.SOURCEHUT, "public_key": PUBLIC_KEY[:-4]}, "public_key"),
        ({"public_key": PUBLIC_KEY}, "public_key"),
        (
            {"forge": Forge.SOURCEHUT, "public_key": PUBLIC_KEY, "pull_requests": True},
            "pull_requests",
        ),
        ({"credential": ""}, "credential"),
        ({"credential": "token"}, "credential"),
        ({"credential": "ada:to ken"}, "credential"),
        ({"credential": "ada:t0ken\nX-Header: 1"}, "credential"),
        ({"credential": "ada:t0ken", "pull_requests": True}, "pull_requests"),
        ({"user": "Ada!"}, "user"),
    ],
)
def test_a_hook_that_cannot_work_is_refused_by_name(make, row_counts, wanted, field):
    before = row_counts()

    with pytest.raises(BadInput) as refused:
        make(**wanted)

    assert {error.field for error in refused.value.errors} == {field}
    assert row_counts() == before


def test_a_user_lists_their_own_hooks(backend, make):
    mine, _ = make()
    make(user="eve")

    with backend.transaction() as session:
        assert [each.id for each in hooks.list_hooks(session, "ada")] == [mine.id]
        assert hooks.list_hooks(session, "nobody") == []


def test_there_is_an_end_to_how_many(make, monkeypatch, row_counts):
    monkeypatch.setattr(hooks, "MOST", 1)
    make()
    make(user="eve")

    with pytest.raises(Conflict, match="~ada has 1 hooks"):
        make()
    assert row_counts()["hook"] == 2


def test_what_a_hook_does_is_changed_and_its_address_and_secret_stay(backend, make):
    hook, secret = make(credential="ada:first")
    private = HookSettings(Visibility.PRIVATE, pull_requests=False)

    kept = hooks.change_hook(backend, "ada", hook.uuid, private)
    assert (kept.visibility, kept.pull_requests) == ("private", False)
    assert hooks.reveal_credential(backend, kept) == b"ada:first"

    other = replace(private, credential="ada:second")
    changed = hooks.change_hook(backend, "ada", hook.uuid, other)
    assert hooks.reveal_credential(backend, changed) == b"ada:second"

    open_ = HookSettings(Visibility.PUBLIC, pull_requests=True, forgets_credential=True)
    opened = hooks.change_hook(backend, "ada", hook.uuid, open_)
    assert (opened.visibility, opened.pull_requests, opened.credential) == ("public", True, None)
    assert (opened.uuid, hooks.reveal_proof(backend, opened)) == (hook.uuid, secret)


@pytest.mark.parametrize(
    ("made", "settings", "field"),
    [
        ({"credential": "ada:x"}, {"pull_requests": True}, "pull_requests"),
        ({}, {"pull_requests": True, "credential": "ada:x"}, "pull_requests"),
        ({}, {"pull_requests": False, "credential": "no colon"}, "credential"),
        (
            {"forge": Forge.SOURCEHUT, "public_key": PUBLIC_KEY},
            {"pull_requests": True},
            "pull_requests",
        ),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_name(backend, make, made, settings, field):
    hook, _ = make(**made)
    settings = HookSettings(Visibility.PRIVATE, **settings)

    with pytest.raises(BadInput) as refused:
        hooks.change_hook(backend, "ada", hook.uuid, settings)

    assert [error.field for error in refused.value.errors] == [field]
    with backend.transaction() as session:
        assert hooks.require_hook(session, hook.uuid).visibility == "unlisted"


def test_a_new_secret_takes_the_place_of_the_one_before(backend, make):
    hook, first = make()

    hook, second = hooks.renew_secret(backend, "ada", hook.uuid)

    assert first != second == hooks.reveal_proof(backend, hook)


def test_what_sourcehut_signs_with_is_not_ours_to_renew(backend, make):
    hook, _ = make(forge=Forge.SOURCEHUT, public_key=PUBLIC_KEY)

    with pytest.raises(Conflict, match="its own key"):
        hooks.renew_secret(backend, "ada", hook.uuid)
    with backend.transaction() as session:
        assert hooks.reveal_proof(backend, hooks.require_hook(session, hook.uuid)) == PUBLIC_KEY


def test_nobody_changes_the_hook_of_another(backend, hook):
    for verb in (
        lambda: hooks.change_hook(
            backend, "eve", hook.uuid, HookSettings(Visibility.PUBLIC, pull_requests=False)
        ),
        lambda: hooks.renew_secret(backend, "eve", hook.uuid),
    ):
        with pytest.raises(NotFound, match=f"there is no hook {hook.uuid}"):
            verb()


def test_a_deleted_hook_is_gone_with_what_was_reported_to_it(backend, hook, push):
    hooks.delete_hook(backend, "ada", hook.uuid)

    with backend.transaction() as session:
        assert session.scalars(select(Hook)).all() == []
        assert session.scalars(select(Push)).all() == []
        with pytest.raises(NotFound):
            hooks.require_hook(session, hook.uuid)
    with pytest.raises(NotFound):
        hooks.receive(backend, hook, "second", EVENT)


def test_nobody_deletes_the_hook_of_another(backend, hook):
    with pytest.raises(NotFound, match=f"there is no hook {hook.uuid}"):
        hooks.delete_hook(backend, "eve", hook.uuid)

    with backend.transaction() as session:
        assert hooks.require_hook(session, hook.uuid).id == hook.id


# --- reports ----------------------------------------------------------------------------------


def test_a_report_waits_for_a_courier_as_long_as_couriers_are_patient(backend, hook, push):
    assert (push.status, push.attempts, push.event) == (PushStatus.WAITING, 0, EVENT)
    assert push.expires - push.created == timedelta(seconds=backend.config.courier.patience)
    assert backend.pushes.enqueued_ids() == {push.id}


def test_the_same_report_again_is_the_same_push(backend, hook, push):
    backend.redis.flushdb()

    again = hooks.receive(backend, hook, "first", Event(()).as_json())

    assert (again.id, again.event) == (push.id, EVENT)
    assert backend.pushes.enqueued_ids() == set()


def test_reports_of_two_hooks_do_not_know_each_other(backend, make, push):
    other, _ = make()

    assert hooks.receive(backend, other, "first", EVENT).id != push.id


def test_a_report_while_redis_is_away_is_taken_and_queued_later(
    backend, hook, tmp_path, monkeypatch
):
    nobody = open_redis(f"unix://{tmp_path}/nobody.sock")
    push = hooks.receive(replace(backend, pushes=push_queue(nobody)), hook, "first", EVENT)
    assert backend.pushes.enqueued_ids() == set()

    monkeypatch.setattr(hooks, "QUEUE_SETTLE", timedelta(0))

    assert hooks.requeue_due(backend) == [push.id]
    assert backend.pushes.enqueued_ids() == {push.id}


def test_a_user_lists_their_own_pushes_newest_first(backend, make, hook, push):
    second = hooks.receive(backend, hook, "second", EVENT)
    other, _ = make()
    third = hooks.receive(backend, other, "third", EVENT)
    hooks.receive(backend, make(user="eve")[0], "fourth", EVENT)

    def listed(*which):
        with backend.transaction() as session:
            return [each.id for each in hooks.list_pushes(session, *which)]

    assert listed("ada", None) == [third.id, second.id, push.id]
    assert listed("ada", hook.uuid) == [second.id, push.id]
    assert listed("ada", None, second.id) == [second.id, push.id]
    assert listed("ada", None, None, 2) == [third.id, second.id]
    assert listed("eve", hook.uuid) == []


# --- claims -----------------------------------------------------------------------------------


def test_a_claimed_push_is_not_due_for_a_while(backend, push):
    claimed = hooks.claim_push(backend, push.id)

    assert (claimed.attempts, claimed.due - claimed.updated) == (1, hooks.CLAIM)
    assert hooks.claim_push(backend, push.id) is None
    assert hooks.requeue_due(backend) == []


def test_the_push_of_a_courier_that_was_killed_is_due_again(backend, push, monkeypatch):
    hooks.claim_push(backend, push.id)
    backend.redis.flushdb()
    set_push(backend, push, due=AGO)

    assert hooks.requeue_due(backend) == [push.id]
    assert hooks.requeue_due(backend) == []  # it is in the queue now
    assert hooks.claim_push(backend, push.id).attempts == 2


def test_a_courier_that_comes_back_late_changes_nothing(backend, push, fetch_push):
    late = hooks.claim_push(backend, push.id)
    set_push(backend, push, due=AGO)
    hooks.claim_push(backend, push.id)

    assert not hooks.finish_push(backend, late, PushStatus.BUILT, None)
    assert not hooks.retry_push(backend, late, "late", 30)
    assert fetch_push(push).status == PushStatus.WAITING
    assert fetch_push(push).reason is None


def test_a_finished_push_is_final(backend, push, fetch_push):
    ours = hooks.claim_push(backend, push.id)

    assert hooks.finish_push(backend, ours, PushStatus.FAILED, "x" * 5000)
    assert not hooks.finish_push(backend, ours, PushStatus.BUILT, None)
    set_push(backend, push, due=AGO)
    assert hooks.claim_push(backend, push.id) is None
    assert hooks.requeue_due(backend) == []
    assert (fetch_push(push).status, len(fetch_push(push).reason)) == (PushStatus.FAILED, 2000)


def test_a_push_is_put_back_with_the_reason_unless_its_time_is_over(backend, push, fetch_push):
    ours = hooks.claim_push(backend, push.id)

    assert not hooks.retry_push(backend, ours, "away", backend.config.courier.patience + 1)
    assert hooks.retry_push(backend, ours, "away", 30)
    put_back = fetch_push(push)
    assert (put_back.status, put_back.reason) == (PushStatus.WAITING, "away")
    assert put_back.due - put_back.updated == timedelta(seconds=30)


def test_a_push_that_nobody_got_done_in_time_fails(backend, push, fetch_push):
    set_push(backend, push, due=AGO, expires=AGO, reason="away")

    assert hooks.claim_push(backend, push.id) is None
    assert (fetch_push(push).status, fetch_push(push).reason) == (PushStatus.FAILED, "away")


# --- not without end --------------------------------------------------------------------------

REQUEST = Event((Update("refs/pull/1/head", "1" * 40),), request=1).as_json()


@pytest.fixture
def limited(backend):
    limits = replace(backend.config.limits, pushes=2)
    return replace(backend, config=replace(backend.config, limits=limits))


def test_so_many_pushes_in_an_hour_and_no_more_are_taken_of_one_hook(limited, make, hook):
    taken = [hooks.receive(limited, hook, name, EVENT) for name in ("a", "b", "c")]

    assert taken[2] is None
    assert hooks.receive(limited, hook, "a", EVENT).id == taken[0].id  # a repeat is none
    assert hooks.receive(limited, make()[0], "c", EVENT)
    set_push(limited, taken[0], created=func.now() - timedelta(hours=1, seconds=1))
    assert hooks.receive(limited, hook, "c", EVENT)


def test_strangers_who_open_pull_requests_leave_room_for_pushes(limited, hook):
    requests = [hooks.receive(limited, hook, name, REQUEST) for name in ("a", "b", "c")]

    assert [each is None for each in requests] == [False, False, True]
    assert hooks.receive(limited, hook, "d", EVENT)


@pytest.mark.parametrize(
    ("status", "days", "is_kept"),
    [("built", 91, False), ("failed", 91, False), ("built", 89, True), ("waiting", 91, True)],
)
def test_a_push_is_forgotten_long_after_it_was_done(backend, push, status, days, is_kept):
    set_push(backend, push, status=status, updated=func.now() - timedelta(days=days))

    hooks.forget_pushes(backend)

    with backend.transaction() as session:
        assert len(session.scalars(select(Push)).all()) == is_kept


def test_the_queue_holds_no_more_than_ids(backend, push):
    [entry] = backend.redis.scan_iter("rq:job:*")
    data = b"".join(backend.redis.hgetall(entry).values())

    assert b"refs/heads" not in data


def test_the_database_holds_no_secret_in_clear(backend, make):
    _, secret = make(credential="ada:t0p-s3cret")

    with backend.transaction() as session:
        [row] = session.scalars(text("SELECT hook::text FROM hook"))
    for each in (secret, "t0p-s3cret", secret.encode().hex(), b"t0p-s3cret".hex()):
        assert each not in row
