"""What is seen of real servers, and what of servers that do not answer."""

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from buildsrht.health import looking
from buildsrht.health.looking import Look
from buildsrht.models import Delivery, Job, Runner
from buildsrht.services import duties, runners
from buildsrht.services.waiting import WaitCode

HERE = {"images": [{"name": "debian/trixie", "arch": "amd64"}]}


def test_of_an_empty_service_it_sees_that_nobody_is_there(backend):
    seen = Look(backend)()
    assert seen.service == looking.Service(None, 0, 0, (), False, False)
    assert seen.slots == (0, 0, 0)
    assert seen.storage is True


def test_it_sees_hosts_those_that_are_silent_and_the_janitor(backend):
    for name in ("host-1", "host-2", "host-3"):
        runners.report(backend, name, HERE)
    with backend.transaction() as session:
        long_ago = func.now() - timedelta(hours=1)
        session.execute(update(Runner).where(Runner.name == "host-2").values(seen=long_ago))
        session.execute(update(Runner).where(Runner.name == "host-3").values(state="draining"))
    duties.hold(backend, duties.JANITOR, "somebody")
    service = Look(backend)().service
    assert (service.active, service.silent) == (1, 1)
    assert 0 <= service.janitor_silent < 30


def test_it_sees_how_long_the_oldest_job_waits_and_what_for(backend, make_job):
    runners.report(backend, "host-1", {"images": []})
    job = make_job("queued")
    make_job("queued")
    with backend.transaction() as session:
        session.get(Job, job.id).queued -= timedelta(seconds=90)
    [oldest] = Look(backend)().service.waiting
    assert 90 <= oldest.seconds < 120
    assert WaitCode.NO_FITTING_HOST in oldest.why


def test_a_job_that_nobody_can_run_hides_none_that_somebody_could(backend, make_job):
    runners.report(backend, "host-1", HERE)
    make_job("queued", manifest="image: debian/bookworm\ntasks: [{a: 'true'}]")
    make_job("queued", manifest="image: debian/bookworm\ntasks: [{a: 'true'}]")
    make_job("queued", manifest="image: debian/trixie\ntasks: [{a: 'true'}]")
    unfit, fit = Look(backend)().service.waiting
    assert WaitCode.NO_FITTING_HOST in unfit.why
    assert WaitCode.NO_FITTING_HOST not in fit.why


def test_a_user_who_has_enough_hides_nobody_elses(limited, make_job, owner, stranger):
    backend = limited(user_jobs=1)
    make_job("running")
    make_job("queued")
    make_job("queued", user=stranger)
    theirs, others = Look(backend)().service.waiting
    assert WaitCode.LIMIT in theirs.why
    assert WaitCode.LIMIT not in others.why


def test_a_job_that_runs_does_not_wait(backend, make_job):
    make_job("running")
    assert Look(backend)().service.waiting == ()


def test_it_sees_what_should_have_been_sent(backend, make_job):
    manifest = (
        "image: debian\ntasks: [{a: 'true'}]\n"
        "triggers: [{action: webhook, condition: always, url: 'https://example.org/'}]\n"
    )
    make_job("success", manifest=manifest)
    with backend.transaction() as session:
        session.execute(update(Delivery).values(due=func.now() - timedelta(minutes=2)))
    service = Look(backend)().service
    assert (service.late_deliveries, service.late_pushes) == (True, False)


def test_looking_again_and_again_leaves_one_object(backend):
    for _ in range(2):
        Look(backend)()
    assert backend.storage.keys("health/") == [looking.PROBE]


def test_storage_that_cannot_be_written_is_seen(backend, monkeypatch):
    def refuse(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(type(backend.storage), "put", refuse)
    assert Look(backend)().storage is None


def test_servers_that_are_away_are_seen(outage):
    seen = Look(outage)()
    assert (seen.service, seen.slots) == (None, None)


@pytest.fixture
def outage(backend, monkeypatch):
    def away(*_, **__):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(looking, "_ask_database", away)
    monkeypatch.setattr(type(backend.queue), "slots", away)
    return backend


def test_who_hangs_is_away_is_waited_for_briefly_and_asked_once(backend, monkeypatch):
    asked, go_on = [], threading.Event()

    def hang(_):
        asked.append(threading.current_thread())
        go_on.wait(30)

    monkeypatch.setattr(looking, "_try_storage", hang)
    monkeypatch.setattr(looking, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(looking, "GOOD_SECONDS", 0.0)
    look = Look(backend)
    begun = time.monotonic()
    seen = [look() for _ in range(3)]
    assert time.monotonic() - begun < 10
    assert [each.storage for each in seen] == [None] * 3
    assert all(each.service for each in seen)
    assert len(asked) == 1
    go_on.set()


def test_what_was_seen_just_now_is_not_looked_at_again(backend, monkeypatch):
    monkeypatch.setattr(looking, "GOOD_SECONDS", 60.0)
    look = Look(backend)
    seen = look()
    runners.report(backend, "host-1", HERE)
    assert look() is seen
