"""Which build hosts there are, and whether they may take jobs."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update

from buildsrht.errors import BadInput, Conflict, NotFound
from buildsrht.models import KeptMachine, Runner, User
from buildsrht.services import dispatch, enrolment, runners
from buildsrht.services.dispatch import Offer
from tests.build_host import claim

HOST = "host-1"
OFFER = Offer(HOST, frozenset({("debian/trixie", "amd64")}))
WAIT_SECONDS = 10


@pytest.fixture
def states(backend):
    def read():
        with backend.transaction() as session:
            return dict(session.execute(select(Runner.name, Runner.state)).all())

    return read


@pytest.fixture
def host(backend):
    runners.report(backend, HOST, {})
    return HOST


@pytest.fixture
def silent(backend):
    """As if it had said nothing for an hour."""

    def make(name):
        with backend.transaction() as session:
            long_ago = func.now() - timedelta(hours=1)
            session.execute(update(Runner).where(Runner.name == name).values(seen=long_ago))

    return make


# --- enrol ----------------------------------------------------------------------------------------


def test_a_host_may_be_known_before_it_comes(backend, states):
    enrolment.enrol(backend, "host-2", draining=True)
    assert states() == {"host-2": "draining"}
    runners.report(backend, "host-2", {})
    assert states() == {"host-2": "draining"}


def test_a_host_that_was_enrolled_and_did_not_come_is_silent(backend):
    enrolment.enrol(backend, "host-2")
    with backend.transaction() as session:
        (found,) = runners.list_runners(session)
    assert found.is_silent


def test_no_two_hosts_have_one_name(backend, host):
    with pytest.raises(Conflict, match="host-1 is known already"):
        enrolment.enrol(backend, host)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 64, "a/b"])
def test_a_host_has_a_name_that_a_configuration_may_have(backend, states, name):
    with pytest.raises(BadInput):
        enrolment.enrol(backend, name)
    assert states() == {}


# --- moves ----------------------------------------------------------------------------------------


def test_a_host_that_is_drained_takes_nothing_and_after_that_again(backend, host, make_job):
    make_job("queued")
    enrolment.drain(backend, None, host)
    assert dispatch.take(backend, OFFER) is None
    enrolment.resume(backend, None, host)
    assert dispatch.take(backend, OFFER).job_id == 1


def test_what_is_so_already_is_no_error(backend, host, states):
    for _ in range(2):
        enrolment.drain(backend, None, host)
    for _ in range(2):
        enrolment.retire(backend, None, host)
    assert states() == {host: "retired"}


def test_a_host_that_is_retired_is_not_drained(backend, host, states):
    enrolment.retire(backend, None, host)
    with pytest.raises(Conflict, match="host-1 is retired"):
        enrolment.drain(backend, None, host)
    assert states() == {host: "retired"}


def test_a_host_with_jobs_is_not_retired(backend, host, make_job, states):
    claim(backend, make_job("queued").id, host)
    with pytest.raises(Conflict, match="a job runs on host-1: drain it"):
        enrolment.retire(backend, None, host)
    assert states() == {host: "active"}


@pytest.mark.parametrize("move", [enrolment.drain, enrolment.resume, enrolment.retire])
def test_a_host_that_there_is_not_cannot_be_moved(backend, move):
    with pytest.raises(NotFound, match="there is no build host host-9"):
        move(backend, None, "host-9")


@pytest.mark.parametrize("move", [enrolment.drain, enrolment.resume, enrolment.retire])
def test_only_administrators_move_hosts(backend, host, states, owner: User, move):
    with pytest.raises(NotFound):
        move(backend, owner, host)
    with pytest.raises(NotFound):
        enrolment.prune(backend, owner)
    assert states() == {host: "active"}


def test_who_drains_a_host_waits_for_who_is_just_taking_a_job(backend, host, make_job):
    """And so, when it is said that it is drained, nobody takes one any more who saw it before."""
    make_job("queued")
    drained = threading.Event()

    def drain():
        enrolment.drain(backend, None, host)
        drained.set()

    with backend.transaction() as session:
        session.execute(dispatch.EXCLUSIVELY)
        asked = dispatch.asked(backend, OFFER)
        assert session.scalar(dispatch.FAIREST, asked) == 1
        thread = threading.Thread(target=drain)
        thread.start()
        waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        for _ in range(1000):
            if session.scalar(waits):
                break
        else:
            pytest.fail("it does not wait")
        assert not drained.is_set()
    assert drained.wait(WAIT_SECONDS)
    thread.join(WAIT_SECONDS)
    assert dispatch.take(backend, OFFER) is None


# --- prune ----------------------------------------------------------------------------------------


def test_hosts_that_are_retired_and_silent_are_forgotten(backend, silent, states):
    for name in ("old", "older", "there", "drained"):
        runners.report(backend, name, {})
    for name in ("old", "older", "there"):
        enrolment.retire(backend, None, name)
    enrolment.drain(backend, None, "drained")
    for name in ("old", "older", "drained"):
        silent(name)
    assert enrolment.prune(backend, None) == ["old", "older"]
    assert states() == {"there": "retired", "drained": "draining"}


def test_a_host_on_which_something_is_kept_is_not_forgotten(backend, silent, states, make_job):
    runners.report(backend, HOST, {})
    job = make_job("failed")
    with backend.transaction() as session:
        expires = datetime.now(UTC) + timedelta(days=1)
        session.add(KeptMachine(job_id=job.id, runner=HOST, expires=expires, sealed_key=b"sealed"))
    enrolment.retire(backend, None, HOST)
    silent(HOST)
    assert enrolment.prune(backend, None) == []
    assert states() == {HOST: "retired"}


def test_a_host_that_may_take_no_jobs_is_remembered_for_ever(backend, states):
    for name in ("drained", "active"):
        enrolment.enrol(backend, name, draining=name == "drained")
    with backend.transaction() as session:
        session.execute(update(Runner).values(seen=func.now() - timedelta(days=365)))
    runners.report(backend, HOST, {})
    assert states() == {"drained": "draining", HOST: "active"}
