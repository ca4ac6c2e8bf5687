"""What is counted of what happens to jobs: each once, and never less than before."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from buildsrht import status
from buildsrht.models import Fault, Job, JobEvent, JobStatus
from buildsrht.services import deletion, jobs, runs, tallies
from tests.build_host import claim, finish

RUNNER = "host-1"


@pytest.fixture
def counts(backend, monkeypatch):
    """All that was counted by now."""
    monkeypatch.setattr(tallies, "SETTLED", timedelta())

    def count():
        tallies.gather(backend)
        with backend.transaction() as session:
            found = tallies.read(session)
        found.pop(tallies.MARK)
        return found

    return count


@pytest.fixture
def run_job(backend, make_job):
    """A job that ran like that."""

    def run(status=JobStatus.SUCCESS, fault=None, seconds=20, **plan):
        job = make_job("queued")
        run = claim(backend, job.id, RUNNER)
        if plan:
            runs.record_plan(backend, run, **plan)
        with backend.transaction() as session:
            session.execute(
                update(JobEvent)
                .where(JobEvent.job_id == job.id)
                .values(created=JobEvent.created - timedelta(seconds=seconds))
            )
        finish(backend, run, status, None, fault)
        return job.id

    return run


def without_sums(buckets):
    return {labels: count for labels, count in buckets.items() if labels[-1] != tallies.SUM}


def test_of_nothing_nothing_is_counted(counts):
    assert counts() == {}


def test_a_job_is_counted_when_it_is_submitted_taken_and_over(counts, run_job, make_job):
    make_job("pending")
    run_job()
    found = counts()
    assert found["submitted"] == {(): 2}
    assert found["taken"] == {("debian/trixie", "amd64"): 1}
    assert found["ended"] == {("success", ""): 1}


def test_whose_fault_a_failure_was_is_told_apart(counts, run_job):
    for fault in (Fault.BUILD, Fault.BUILD, Fault.SERVICE):
        run_job(JobStatus.FAILED, fault)
    assert counts()["ended"] == {("failed", "build"): 2, ("failed", "service"): 1}


def test_how_long_jobs_waited_and_ran_is_counted_by_buckets(counts, run_job):
    run_job(seconds=20)
    found = counts()
    # Up to 30 seconds, and up to a tenth of a second.
    assert without_sums(found["ran"]) == {("success", "3"): 1}
    assert 20 <= found["ran"]["success", "sum"] < 60
    assert without_sums(found["queued"]) == {("0",): 1}


def test_what_is_longer_than_every_bucket_is_counted_too(counts, run_job):
    run_job(seconds=100_000)
    assert without_sums(counts()["ran"]) == {("success", str(len(tallies.BUCKETS["ran"]))): 1}


def test_which_machines_jobs_got_is_counted(counts, run_job):
    run_job(origin="spare", up_seconds=0.3, layer=None, layer_is_new=False)
    run_job(origin="snapshot", up_seconds=0.7, layer="abc", layer_is_new=False)
    run_job(origin="snapshot", up_seconds=40, layer="def", layer_is_new=True)
    found = counts()
    assert found["machines"] == {("spare",): 1, ("snapshot",): 2}
    assert found["layers"] == {("hit",): 1, ("miss",): 1}
    assert without_sums(found["up"]) == {
        ("spare", "2"): 1,
        ("snapshot", "3"): 1,
        ("snapshot", "8"): 1,
    }


def test_a_job_that_is_begun_again_is_counted(counts, backend, make_job):
    job = make_job("queued")
    claim(backend, job.id, RUNNER)
    with backend.transaction() as session:
        session.execute(update(Job).values(lease_expires=func.now() - timedelta(hours=1)))
    assert runs.expire_leases(backend) == [job.id]
    found = counts()
    assert found["begun_again"] == {(): 1}
    assert found["leases_lost"] == {(): 1}
    assert "ended" not in found


def test_a_job_that_was_cancelled_before_it_ran_did_not_run(counts, make_job, backend, owner):
    jobs.cancel(backend, make_job("queued").id, owner)
    found = counts()
    assert found["ended"] == {("cancelled", ""): 1}
    assert "ran" not in found


def test_each_event_is_counted_once(counts, run_job):
    run_job()
    before = counts()
    assert counts() == before


def test_what_is_deleted_afterwards_stays_counted(counts, run_job, backend, owner):
    job_id = run_job()
    before = counts()
    deletion.delete_job(backend, owner, job_id)
    assert counts() == before


def test_many_events_are_counted_in_steps(counts, run_job, monkeypatch):
    monkeypatch.setattr(tallies, "MOST_AT_ONCE", 2)
    run_job()
    steps = [counts().get("ended") for _ in range(3)]
    assert steps[0] is None
    assert steps[-1] == {("success", ""): 1}


def test_what_happened_a_moment_ago_is_left_for_later(backend, run_job):
    run_job()
    tallies.gather(backend)
    with backend.transaction() as session:
        assert "ended" not in tallies.read(session)


def test_an_event_is_counted_though_a_later_one_is_of_an_older_transaction(
    backend, counts, make_job
):
    """As where one waits for its turn, or seals logs, while others are quick."""
    slow, quick = make_job("pending"), make_job("pending")
    with backend.transaction() as older:
        begun = older.scalar(select(func.now()))
        with backend.transaction() as session:
            status.move_job(session, quick.id, JobStatus.CANCELLED)
        status.move_job(older, slow.id, JobStatus.CANCELLED)
    with backend.transaction() as session:
        times = session.scalars(
            select(JobEvent.created).where(JobEvent.status == "cancelled").order_by(JobEvent.id)
        ).all()
    assert begun < times[0] <= times[1]
    assert counts()["ended"] == {("cancelled", ""): 2}


def test_none_is_passed_by_that_is_not_settled(backend, counts, make_job, monkeypatch):
    make_job("pending")
    make_job("pending")
    with backend.transaction() as session:
        last = session.scalar(select(func.max(JobEvent.id)))
        long_ago = func.now() - timedelta(hours=1)
        session.execute(update(JobEvent).where(JobEvent.id == last).values(created=long_ago))
    monkeypatch.setattr(tallies, "SETTLED", timedelta(minutes=30))
    assert "submitted" not in counts()
    monkeypatch.setattr(tallies, "SETTLED", timedelta())
    assert counts()["submitted"] == {(): 2}


def test_while_somebody_counts_nobody_else_does(backend, counts, run_job):
    run_job()
    counts()
    run_job()
    with backend.transaction() as session:
        assert tallies._mark(session) is not None
        # It would wait for ever, or count twice.
        assert counts()["submitted"] == {(): 1}
    assert counts()["submitted"] == {(): 2}
