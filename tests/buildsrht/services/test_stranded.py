"""Jobs that no build host can run do not wait for ever."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from buildsrht.models import Job
from buildsrht.services import history, runners
from buildsrht.services.stranded import end_stranded

OTHER = {"images": [{"name": "debian/bookworm", "arch": "amd64"}]}
FITTING = {"images": [{"name": "debian/trixie", "arch": "amd64"}]}


@pytest.fixture
def waited(backend, make_job):
    """A job that was queued so long ago."""

    def make(time, status="queued"):
        job = make_job(status)
        with backend.transaction() as session:
            session.execute(update(Job).where(Job.id == job.id).values(queued=Job.queued - time))
        return job.id

    return make


LONG = timedelta(days=7, minutes=1)


def test_a_job_that_no_host_can_run_fails_at_last_by_the_services_fault(backend, waited, fetch):
    runners.report(backend, "host-1", OTHER)
    job_id = waited(LONG)
    end_stranded(backend)
    job = fetch(job_id)
    assert (job.status, job.fault) == ("failed", "service")
    assert backend.queue.enqueued_ids() == set()
    with backend.transaction() as session:
        last = history.events_of(session, [job.id])[job.id][-1]
    assert last.cause == "No build host could run it within 7 days."


@pytest.mark.parametrize(
    ("time", "facts"),
    [
        (timedelta(days=6), OTHER),
        # It is only not its turn.
        (LONG, FITTING),
    ],
)
def test_a_job_that_may_yet_run_waits(backend, waited, fetch, time, facts):
    runners.report(backend, "host-1", facts)
    job_id = waited(time)
    end_stranded(backend)
    assert fetch(job_id).status == "queued"


def test_while_no_host_is_there_nothing_is_known_and_all_wait(backend, waited, fetch):
    job_id = waited(LONG)
    end_stranded(backend)
    assert fetch(job_id).status == "queued"


@pytest.mark.parametrize("status", ["pending", "running", "success"])
def test_a_job_that_is_not_queued_is_left_alone(backend, waited, fetch, status):
    runners.report(backend, "host-1", OTHER)
    job_id = waited(LONG, status)
    end_stranded(backend)
    assert fetch(job_id).status == status


def test_the_time_is_told_in_words(backend, limited, waited):
    runners.report(backend, "host-1", OTHER)
    job_id = waited(timedelta(hours=3))
    end_stranded(limited(wait=7200))
    with backend.transaction() as session:
        last = history.events_of(session, [job_id])[job_id][-1]
    assert last.cause == "No build host could run it within 2 hours."


def test_one_of_many_routes_is_found_by_all_that_it_asks_for(backend, waited, fetch):
    runners.report(backend, "host-1", {**FITTING, "labels": ["gpu"]})
    wanted = [(), ("gpu",), ("nowhere",), ("gpu", "nowhere")]
    ids = [waited(LONG) for _ in wanted]
    with backend.transaction() as session:
        for job_id, labels in zip(ids, wanted, strict=True):
            session.execute(update(Job).where(Job.id == job_id).values(labels=[*labels]))

    end_stranded(backend)

    assert [fetch(job_id).status for job_id in ids] == ["queued", "queued", "failed", "failed"]


def test_they_are_ended_some_at_a_time(backend, waited, fetch, monkeypatch):
    monkeypatch.setattr("buildsrht.services.stranded.MOST_AT_ONCE", 2)
    runners.report(backend, "host-1", OTHER)
    ids = [waited(LONG) for _ in range(3)]
    end_stranded(backend)
    assert [fetch(job_id).status for job_id in ids] == ["failed", "failed", "queued"]
