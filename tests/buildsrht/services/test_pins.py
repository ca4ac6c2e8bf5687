"""Jobs whose artifacts and logs are kept for ever."""

from datetime import UTC, datetime, timedelta

import pytest

from buildsrht.errors import Conflict, Forbidden
from buildsrht.models import Artifact
from buildsrht.services import pins


@pytest.fixture
def job(make_job, keep_artifact):
    job = make_job("success")
    keep_artifact(job, "out.bin", b"0123456789")
    return job


@pytest.fixture
def expiry(backend):
    def read():
        with backend.transaction() as session:
            return session.get_one(Artifact, 1).expires

    return read


def test_what_is_pinned_expires_at_the_end_of_time(backend, job, owner, expiry, fetch):
    for _ in range(2):
        pins.pin(backend, job.id, owner)
    assert fetch(job.id).pinned
    assert expiry() == pins.END_OF_TIME


def test_what_is_unpinned_expires_as_if_it_had_never_been(backend, job, owner, expiry, fetch):
    before = expiry()
    pins.pin(backend, job.id, owner)
    pins.unpin(backend, job.id, owner)
    assert not fetch(job.id).pinned
    assert abs(expiry() - before) < timedelta(seconds=5)


def test_who_unpins_what_is_old_has_a_day_to_notice(backend, job, owner, expiry):
    pins.pin(backend, job.id, owner)
    with backend.transaction() as session:
        session.get_one(Artifact, 1).created -= timedelta(days=1000)
    pins.unpin(backend, job.id, owner)
    assert timedelta(hours=23) < expiry() - datetime.now(UTC) <= timedelta(days=1)


def test_what_is_gone_does_not_come_back(backend, job, owner, expiry):
    past = datetime.now(UTC) - timedelta(days=1)
    with backend.transaction() as session:
        session.get_one(Artifact, 1).expires = past
    pins.pin(backend, job.id, owner)
    assert expiry() == past


@pytest.mark.parametrize("status", ["pending", "queued", "running"])
def test_a_job_that_is_not_over_is_not_pinned(backend, make_job, owner, fetch, status):
    job = make_job(status)
    with pytest.raises(Conflict, match=f"job 1 is {status}: pin it when it is over"):
        pins.pin(backend, job.id, owner)
    assert not fetch(job.id).pinned


def test_one_user_pins_so_much_and_no_more(limited, job, make_job, keep_artifact, owner, fetch):
    limit = limited(pinned=15)
    pins.pin(limit, job.id, owner)
    other = make_job("success")
    keep_artifact(other, "out.bin", b"0123456789")
    with pytest.raises(Conflict, match="the most for one user") as refused:
        pins.pin(limit, other.id, owner)
    assert "unpin another job before" in str(refused.value)
    pins.unpin(limit, job.id, owner)
    pins.pin(limit, other.id, owner)
    assert fetch(other.id).pinned


def test_what_has_only_its_day_of_grace_left_is_counted(
    limited, backend, job, make_job, keep_artifact, owner
):
    """Or who pinned one job after the other would keep them all."""
    pins.pin(backend, job.id, owner)
    with backend.transaction() as session:
        session.get_one(Artifact, 1).created -= timedelta(days=1000)
    pins.unpin(backend, job.id, owner)
    other = make_job("success")
    keep_artifact(other, "out.bin", b"0123456789")

    with pytest.raises(Conflict):
        pins.pin(limited(pinned=15), other.id, owner)


def test_what_others_pinned_is_not_counted(limited, job, make_job, keep_artifact, owner, stranger):
    limit = limited(pinned=15)
    pins.pin(limit, job.id, owner)
    theirs = make_job("success", user=stranger)
    keep_artifact(theirs, "out.bin", b"0123456789")
    pins.pin(limit, theirs.id, stranger)


def test_nobody_pins_the_job_of_another(backend, job, stranger, fetch):
    with pytest.raises(Forbidden):
        pins.pin(backend, job.id, stranger)
    assert not fetch(job.id).pinned
