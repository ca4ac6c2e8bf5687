"""Whoever ends a job, or the last one of a group, owes what their triggers ask for: once."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Barrier, get_ident

import pytest
from redis.exceptions import RedisError
from sqlalchemy import event, func, select, update

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.models import Delivery, Job, JobGroup, JobStatus, TaskStatus
from buildsrht.services import groups, jobs, runs, triggers
from buildsrht.status import move_job
from tests.build_host import claim, finish

CONDITIONS = ("always", "success", "failure")


def hooks(*conditions):
    return [
        {"action": "webhook", "condition": condition, "url": f"https://example.org/{condition}"}
        for condition in conditions
    ]


@pytest.fixture
def make_job(make_job):
    """A job with a trigger for each condition."""
    text = json.dumps(
        {"image": "debian/trixie", "tasks": [{"build": "x"}], "triggers": hooks(*CONDITIONS)}
    )
    return lambda status="queued", **fields: make_job(status, **{"manifest": text} | fields)


@pytest.fixture
def owed(backend):
    """What is owed now: the condition of each delivery, in their order."""

    def fetch():
        with backend.transaction() as session:
            rows = session.scalars(select(Delivery).order_by(Delivery.id))
            return [row.trigger["condition"] for row in rows]

    return fetch


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "conditions"),
    [
        ("success", ["always", "success"]),
        ("failed", ["always", "failure"]),
        ("timeout", ["always", "failure"]),
        ("cancelled", ["always", "failure"]),
        *[(status, []) for status in ("pending", "queued", "running")],
    ],
)
def test_the_status_of_a_job_says_which_of_its_triggers_fire(make_job, owed, status, conditions):
    make_job(status)
    assert owed() == conditions


def test_a_trigger_is_kept_as_the_manifest_gives_it(make_job, fetch):
    make_job("queued")
    assert fetch(1).triggers == hooks(*CONDITIONS)


def test_a_delivery_waits_for_as_long_as_the_operator_has_patience(make_job, backend):
    make_job("success")
    with backend.transaction() as session:
        row = session.get_one(Delivery, 1)
    assert (row.status, row.attempts, row.job_id, row.position) == ("waiting", 0, 1, 0)
    assert row.expires - row.created == timedelta(hours=24)
    assert row.due == row.created


def cancel_waiting(backend, owner):
    jobs.cancel(backend, 1, owner)


def lose_the_host(backend, owner):
    run = claim(backend, 1, "host-1")
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    with backend.transaction() as session:
        session.execute(update(Job).values(lease_expires=func.now()))
    runs.expire_leases(backend)


def find_it_abandoned(backend, owner):
    claim(backend, 1, "host-1")
    with backend.transaction() as session:
        runs.end_abandoned(session, session.get_one(Job, 1), "Its host was lost.")


@pytest.mark.parametrize("end", [cancel_waiting, lose_the_host, find_it_abandoned])
def test_whoever_ends_a_job_owes_it(make_job, backend, owner, owed, end):
    make_job("queued")
    end(backend, owner)
    assert owed() == ["always", "failure"]
    assert backend.deliveries.enqueued_ids() == {1, 2}


def fail_after(_):
    raise ZeroDivisionError


def test_a_job_that_was_not_ended_after_all_owes_nothing(make_job, backend, owed):
    make_job("running")
    with pytest.raises(ZeroDivisionError), backend.transaction() as session:
        fail_after(move_job(session, 1, JobStatus.SUCCESS))
    with pytest.raises(Conflict), backend.transaction() as session:
        move_job(session, 1, JobStatus.SUCCESS, Job.runner == "another")
    assert owed() == []
    assert backend.deliveries.enqueued_ids() == set()


def test_an_end_whose_deliveries_cannot_be_written_is_no_end(make_job, backend, fetch):
    """They are of one transaction: the job would be run on, and ended by somebody else."""
    make_job("running")

    def fail(connection, cursor, statement, *_):
        if "INTO delivery" in statement:
            raise ZeroDivisionError

    event.listen(backend.engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(ZeroDivisionError), backend.transaction() as session:
            move_job(session, 1, JobStatus.SUCCESS)
    finally:
        event.remove(backend.engine, "before_cursor_execute", fail)
    assert fetch(1).status == JobStatus.RUNNING


class AwayQueue:
    def enqueue(self, *_):
        raise RedisError("away")


def test_a_redis_that_is_away_keeps_no_job_from_ending(make_job, backend, owner, owed, fetch):
    make_job("queued")
    jobs.cancel(replace(backend, deliveries=AwayQueue()), 1, owner)
    assert fetch(1).status == JobStatus.CANCELLED
    assert owed() == ["always", "failure"]


# --- groups ---------------------------------------------------------------------------------------


@pytest.fixture
def group(make_job, backend, owner):
    """A group of three jobs that run; ends them as told: `group("success", "failed", ...)`."""
    for _ in range(3):
        make_job("pending", manifest="image: debian/trixie\ntasks: [{build: x}]")
    groups.create_group(backend, owner, [1, 2, 3], None, hooks(*CONDITIONS), execute=True)
    running = [claim(backend, job_id, "host-1") for job_id in (1, 2, 3)]

    def end(*statuses):
        for run, status in zip(running, statuses, strict=False):
            finish(backend, run, JobStatus(status))

    end.runs = running
    return end


def finished(backend):
    with backend.transaction() as session:
        return session.get_one(JobGroup, 1).finished is not None


@pytest.mark.parametrize(
    ("statuses", "conditions"),
    [
        (["success", "success"], []),
        (["failed", "failed"], []),
        (["success", "success", "success"], ["always", "success"]),
        (["success", "failed", "success"], ["always", "failure"]),
        (["success", "success", "timeout"], ["always", "failure"]),
        (["cancelled", "cancelled", "cancelled"], ["always", "failure"]),
    ],
)
def test_a_group_fires_when_its_last_job_is_over(group, backend, owed, statuses, conditions):
    group(*statuses)
    assert owed() == conditions
    assert finished(backend) == bool(conditions)
    assert len(backend.deliveries.enqueued_ids()) == len(conditions)


def test_a_group_that_is_cancelled_before_it_began_is_over(make_job, backend, owner, owed):
    make_job("pending", manifest="image: debian/trixie\ntasks: [{build: x}]")
    groups.create_group(backend, owner, [1], None, hooks("always"), execute=False)
    assert owed() == []
    groups.cancel_group(backend, 1, owner)
    assert owed() == ["always"]


def test_a_group_that_nobody_starts_is_not_over(make_job, backend, owner, owed):
    make_job("pending")
    groups.create_group(backend, owner, [1], None, hooks("always"), execute=False)
    assert triggers.finish_groups(backend) == []
    assert owed() == []


def test_jobs_of_a_group_fire_too(make_job, backend, owner, owed):
    make_job("pending")
    groups.create_group(backend, owner, [1], None, hooks("failure"), execute=False)
    jobs.cancel(backend, 1, owner)
    assert owed() == ["always", "failure", "failure"]


@dataclass(frozen=True)
class InStep(Backend):
    """Commits its first transaction, the job's end, at the same moment as another one."""

    barrier: Barrier
    has_ended: set[int]

    @contextmanager
    def transaction(self):
        with super().transaction() as session:
            yield session
            if get_ident() not in self.has_ended:
                self.has_ended.add(get_ident())
                self.barrier.wait(10)


def test_the_last_two_jobs_that_end_at_the_same_moment_fire_once(group, backend, owed):
    group("success")
    for round_ in range(10):
        _restart(backend, group)
        in_step = InStep(**vars(backend), barrier=Barrier(2), has_ended=set())
        with ThreadPoolExecutor(2) as threads:
            ended = [
                threads.submit(finish, in_step, run, JobStatus.SUCCESS) for run in group.runs[1:]
            ]
            assert [future.result(20) for future in ended] == [JobStatus.SUCCESS] * 2
        assert owed() == ["always", "success"], round_


def _restart(backend, group):
    """As before the last two ended."""
    with backend.transaction() as session:
        session.query(Delivery).delete()
        session.execute(update(JobGroup).values(finished=None))
        for run in group.runs[1:]:
            session.execute(
                update(Job)
                .where(Job.id == run.job_id)
                .values(status="running", finished=None, lease_expires=func.now())
            )


def test_cancelling_a_group_while_its_jobs_end_never_waits_for_ever(group, backend, owner, owed):
    def cancel():
        try:
            groups.cancel_group(backend, 1, owner)
        except Conflict:
            return "over"

    def end(run):
        return finish(backend, run, JobStatus.SUCCESS)

    with ThreadPoolExecutor(4) as threads:
        ended = [threads.submit(cancel), *(threads.submit(end, run) for run in group.runs)]
        for future in ended:
            future.result(30)
    assert len(owed()) == 2
    assert finished(backend)


def test_a_group_whose_finisher_was_killed_is_finished_by_the_janitor_once(
    group, backend, owed, monkeypatch
):
    group("success", "success")
    # As if the process had been killed after its commit.
    monkeypatch.setattr(Backend, "_send", lambda *_: None)
    group.runs[:2] = []
    finish(backend, group.runs[0], JobStatus.SUCCESS)
    assert (owed(), finished(backend)) == ([], False)

    assert triggers.finish_groups(backend) == [1]
    assert triggers.finish_groups(backend) == []
    assert owed() == ["always", "success"]
