"""What is kept, what goes by age and for room, and what those are told who come for it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from buildsrht.errors import Gone
from buildsrht.models import Artifact, Erasure, Job, Log
from buildsrht.services import artifacts, deletion, pins, retention
from buildsrht.services.jobs import log_name

DAY = 86400


@pytest.fixture
def ruled(backend):
    """The backend with other rules: `ruled(size=100)`."""

    def make(**rules):
        storage = replace(backend.config.storage, least_age=DAY, **rules)
        return replace(backend, config=replace(backend.config, storage=storage))

    return make


@pytest.fixture
def make_old(backend):
    """As if all that there is were so many days older."""

    def make(days):
        with backend.transaction() as session:
            for row in (Artifact, Log):
                session.execute(update(row).values(created=row.created - timedelta(days=days)))

    return make


@pytest.fixture
def leave(make_job, keep_artifact, write_log, make_old):
    """A job that is over and left an artifact and a log of 10 bytes each, some days ago."""

    def make(days=0, status="success"):
        job = make_job(status)
        artifact = keep_artifact(job, "out.bin", b"0123456789")
        write_log(job, None, b"it is over", seal=True)
        make_old(days)
        return job, artifact

    return make


@pytest.fixture
def left(backend):
    """The jobs whose artifacts, and whose logs, are still there."""

    def read():
        with backend.transaction() as session:
            there = select(Artifact.job_id).where(Artifact.deleted.is_(None))
            logs = select(Log.job_id).where(Log.removed.is_(None))
            return sorted(session.scalars(there)), sorted(session.scalars(logs))

    return read


def stored(backend):
    return sorted(backend.storage.keys("artifacts/") + backend.storage.keys("logs/"))


# --- by age ---------------------------------------------------------------------------------------


def test_logs_are_kept_for_ever_unless_the_operator_says_otherwise(ruled, leave, left):
    leave(days=4000)
    retention.remove_expired(ruled())
    assert left()[1] == [1]
    retention.remove_expired(ruled(log_lifetime=365 * DAY))
    assert left()[1] == []


def test_a_log_goes_when_its_time_is_over_and_not_before(ruled, leave, left):
    leave(days=20)
    leave(days=20)
    retention.remove_expired(ruled(log_lifetime=30 * DAY))
    assert left()[1] == [2]


def test_the_bytes_of_a_log_go_with_the_next_sweep_and_its_marks_too(backend, ruled, leave):
    _, artifact = leave(days=40)
    retention.remove_expired(ruled(log_lifetime=30 * DAY))
    assert len(stored(backend)) == 3
    deletion.erase_deleted(backend)
    assert stored(backend) == [artifacts.storage_key(artifact)]
    with backend.transaction() as session:
        assert session.scalars(select(Erasure)).all() == []


def test_who_reads_a_log_that_was_removed_is_told_when(backend, ruled, leave):
    job, _ = leave(days=40)
    retention.remove_expired(ruled(log_lifetime=30 * DAY))
    with backend.transaction() as session:
        view = backend.logs.view(session, log_name(job, None))
    assert (view.size, view.sealed) == (10, True)
    with pytest.raises(Gone, match="the logs of this job were removed on 20"):
        view.read(0, 10)


def test_the_log_of_a_job_that_runs_stays(ruled, make_job, write_log, make_old, left):
    write_log(make_job("running"), None, b"going on", seal=True)
    make_old(days=40)
    retention.remove_expired(ruled(log_lifetime=30 * DAY))
    assert left()[1] == [1]


# --- by room --------------------------------------------------------------------------------------


def test_the_oldest_artifacts_go_until_there_is_room(ruled, leave, left):
    for _ in range(4):
        leave(days=2)
    retention.make_room(ruled(size=65))
    assert left() == ([3, 4], [1, 2, 3, 4])


def test_what_is_within_the_size_stays(ruled, leave, left):
    leave(days=2)
    retention.make_room(ruled(size=20))
    assert left() == ([1], [1])


def test_what_is_young_stays_whatever_the_size(ruled, leave, left):
    leave()
    retention.make_room(ruled(size=1))
    assert left() == ([1], [1])


def test_logs_go_for_room_only_if_they_may(ruled, leave, left):
    leave(days=2)
    leave(days=2)
    retention.make_room(ruled(size=11))
    assert left() == ([], [1, 2])
    retention.make_room(ruled(size=11))
    assert left() == ([], [1, 2])


def test_logs_go_after_all_artifacts(backend, ruled, leave, left):
    leave(days=2)
    leave(days=2)
    retention.make_room(ruled(size=11, clear_logs=True))
    assert left() == ([], [2])


def test_what_is_to_be_erased_yet_is_not_counted_twice(backend, ruled, leave, left):
    for _ in range(3):
        leave(days=2)
    short = ruled(reserve=2**62)
    retention.make_room(short)
    gone = left()
    leave(days=2)
    retention.make_room(short)
    assert left()[0] == [4]
    assert gone[0] == []


def test_a_disk_that_is_short_has_the_oldest_go(ruled, leave, left, monkeypatch):
    for _ in range(3):
        leave(days=2)
    usage = retention.shutil.disk_usage("/")._replace(free=85)
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda _: usage)
    retention.make_room(ruled(reserve=100))
    assert left()[0] == [3]


def test_of_a_bucket_nobody_knows_what_is_free(ruled, leave, left):
    leave(days=2)
    retention.make_room(ruled(reserve=2**62, url="s3://bucket"))
    assert left()[0] == [1]


def test_who_wants_an_artifact_that_went_for_room_is_told_so(backend, ruled, leave, client):
    _, artifact = leave(days=2)
    retention.make_room(ruled(size=10))
    answer = client.get(f"/artifacts/1/{artifact.secret}/out.bin")
    assert answer.status_code == 410
    reason = answer.json["errors"][0]["reason"]
    assert reason.startswith("out.bin was removed on 20")
    assert reason.endswith(", as room was needed")


# --- what is pinned -------------------------------------------------------------------------------


def test_nothing_of_a_job_that_is_pinned_goes(backend, ruled, leave, left, owner):
    job, _ = leave(days=2)
    pins.pin(backend, job.id, owner)
    rules = ruled(log_lifetime=DAY, size=1, clear_logs=True)
    retention.remove_expired(rules)
    retention.make_room(rules)
    assert left() == ([1], [1])


@pytest.mark.parametrize("kind", [Artifact, Log])
def test_what_is_being_pinned_is_passed_over(backend, ruled, leave, kind):
    """Whoever pins has not finished: nothing tells yet how that ends."""
    leave(days=400)
    rules = ruled(log_lifetime=DAY, size=0)
    with backend.transaction() as session:
        session.execute(update(Job).values(pinned=True))
        retention.remove_expired(rules)
        retention.make_room(rules)
    retention.remove_expired(rules)
    retention.make_room(rules)
    with backend.transaction() as session:
        gone = kind.deleted if kind is Artifact else kind.removed
        assert session.scalars(select(gone)).all() == [None]


def test_what_was_pinned_once_goes_like_the_rest(backend, ruled, leave, left, owner):
    job, _ = leave(days=2)
    pins.pin(backend, job.id, owner)
    pins.unpin(backend, job.id, owner)
    retention.make_room(ruled(size=1, clear_logs=True))
    assert left() == ([], [])


def test_an_artifact_that_a_crash_left_marked_is_erased_at_last(backend, ruled, leave):
    leave()
    with backend.transaction() as session:
        session.execute(update(Artifact).values(expires=func.now()))
    retention.remove_expired(ruled())
    assert len(backend.storage.keys("artifacts/")) == 1
    deletion.erase_deleted(backend)
    assert backend.storage.keys("artifacts/") == []
