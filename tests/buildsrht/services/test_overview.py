"""What there is to see at a glance: trends, what is under way, and the queue."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import update

from buildsrht.models import Job, JobStatus, Runner, Visibility
from buildsrht.queue import Slots, job_queue
from buildsrht.services import overview
from buildsrht.services.overview import Ended


@pytest.fixture
def end(make_job, backend):
    """A job that ran so long."""

    def end(status: str = "success", seconds: float = 10, **fields) -> Job:
        job = make_job(status, **fields)
        finished = datetime.now(UTC)
        with backend.transaction() as session:
            session.execute(
                update(Job)
                .where(Job.id == job.id)
                .values(started=finished - timedelta(seconds=seconds), finished=finished)
            )
        return job

    return end


@pytest.fixture
def trend(backend, owner):
    def trend(viewer=None, path=()):
        with backend.transaction() as session:
            return overview.trend(session, viewer, owner, path)

    return trend


def test_a_trend_has_what_ended_the_oldest_first(end, make_job, trend, owner, backend):
    first, second = end("failed", 4), end("success", 2.5)
    make_job("running")

    assert trend(owner).jobs == [
        Ended(first.id, JobStatus.FAILED, 4.0),
        Ended(second.id, JobStatus.SUCCESS, 2.5),
    ]


def test_a_job_that_never_ran_took_no_time(make_job, trend, owner, backend):
    job = make_job("cancelled")
    with backend.transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(started=None))

    found = trend(owner)

    assert [job.seconds for job in found.jobs] == [None]
    assert (found.outcomes, found.median_seconds) == ([], None)


def test_a_trend_says_how_many_succeeded_of_what_was_not_cancelled(end, trend, owner):
    for status, seconds in (("success", 1), ("failed", 3), ("timeout", 8), ("cancelled", 99)):
        end(status, seconds)

    found = trend(owner)

    assert (found.succeeded, len(found.outcomes), found.median_seconds) == (1, 3, 3.0)


def test_a_trend_is_of_what_its_viewer_may_find(end, trend, owner, stranger, admin):
    jobs = [end(visibility=visibility).id for visibility in Visibility]

    assert [job.id for job in trend(stranger).jobs] == jobs[:1]
    assert [job.id for job in trend(None).jobs] == jobs[:1]
    assert [job.id for job in trend(owner).jobs] == jobs
    assert [job.id for job in trend(admin).jobs] == jobs


def test_a_trend_of_tags_is_of_jobs_whose_tags_begin_with_them(end, trend, owner):
    job = end(tags=["web", "main"])
    end(tags=["main", "web"])

    assert [found.id for found in trend(owner, ["web"]).jobs] == [job.id]


def test_a_trend_ends_somewhere(end, trend, owner, monkeypatch):
    monkeypatch.setattr(overview, "TREND", 2)
    jobs = [end().id for _ in range(3)]

    assert [job.id for job in trend(owner).jobs] == jobs[1:]


def test_under_way_is_what_runs_and_then_what_waits(make_job, stranger, owner, backend):
    jobs = [make_job(status).id for status in ("pending", "queued", "running", "queued", "success")]
    make_job("running", user=stranger, visibility=Visibility.PUBLIC)

    with backend.transaction() as session:
        found = [job.id for job in overview.under_way(session, owner)]

    pending, queued, running, queued_later, _ = jobs
    assert found == [running, queued_later, queued, pending]


def test_the_queue_says_how_many_run_and_wait_and_who_is_there(make_job, backend):
    for status in ("pending", "queued", "queued", "running", "success"):
        make_job(status)
    silent = datetime.now(UTC) - timedelta(hours=1)
    with backend.transaction() as session:
        session.add(Runner(name="host-1", facts={}))
        session.add(Runner(name="host-2", facts={}, seen=silent))

    assert overview.queue_now(backend) == (1, 2, 1, Slots(0, 0, 0))


def test_a_queue_that_is_away_is_said_to_be(backend):
    away = job_queue(Redis(port=1), job_timeout=60)

    assert overview.queue_now(replace(backend, queue=away)).slots is None
