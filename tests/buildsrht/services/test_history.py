"""What has happened to jobs: events in order, and how long a job stayed in each state."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, update

from buildsrht.models import EventKind, Job, JobEvent, JobStatus, TaskStatus, Visibility
from buildsrht.services import groups, history, jobs, runs
from tests.build_host import claim, finish
from tests.conftest import RUNNER

P, Q, R, S, F, C = (
    *(JobStatus.PENDING, JobStatus.QUEUED, JobStatus.RUNNING),
    *(JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED),
)


@pytest.fixture
def events(backend):
    def look(job):
        with backend.transaction() as session:
            return history.events_of(session, [job.id])[job.id]

    return look


@pytest.fixture
def transitions(backend):
    def look(job):
        with backend.transaction() as session:
            row = session.get_one(Job, job.id)
            return history.transitions_of(session, [row])[job.id]

    return look


@pytest.fixture
def forget_events(backend):
    """As of a job that is older than events."""

    def forget(job):
        with backend.transaction() as session:
            session.execute(delete(JobEvent).where(JobEvent.job_id == job.id))

    return forget


@pytest.fixture
def set_times(backend):
    """Times of a job's row, in seconds after a moment."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    def change(job, **seconds):
        times = {name: moment + timedelta(seconds=each) for name, each in seconds.items()}
        with backend.transaction() as session:
            session.execute(update(Job).where(Job.id == job.id).values(times))

    return change


def moves(found):
    return [(each.came_from, each.to) for each in found]


def test_everything_that_happens_is_an_event_with_the_state_from_then_on(
    make_job, backend, owner, events
):
    job = make_job("pending")
    jobs.start(backend, job.id, owner)
    run = claim(backend, job.id, RUNNER)
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    jobs.update_job(backend, job.id, owner, note="watch this")
    finish(backend, run, F, "task build: exit status 1")
    found = [
        (
            *(event.kind.value, event.status.value, event.task and event.task.name),
            *(event.task_status and event.task_status.value, event.attempt, event.cause),
        )
        for event in events(job)
    ]
    assert found == [
        ("created", "pending", None, None, 0, None),
        ("status", "queued", None, None, 0, "~owner started it."),
        ("status", "running", None, None, 1, f"Taken by the build host {RUNNER}."),
        ("task", "running", "build", "running", 1, None),
        ("settings", "running", None, None, 1, None),
        ("status", "failed", None, None, 1, "task build: exit status 1"),
        ("task", "failed", "build", "failed", 1, None),
    ]


def test_each_state_has_its_beginning_its_cause_and_its_duration(make_job, transitions, backend):
    job = make_job("success")
    with backend.transaction() as session:
        for number, event in enumerate(history.events_of(session, [job.id])[job.id]):
            event.created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=1.5 * number)
    found = transitions(job)
    assert moves(found) == [(None, Q), (Q, R), (R, S)]
    assert [each.milliseconds for each in found] == [1500, 1500, None]
    assert [each.attempt for each in found] == [0, 1, 1]
    assert [each.cause for each in found] == [None, f"Taken by the build host {RUNNER}.", None]


def test_a_cancel_tells_who_cancelled_and_a_group_that_it_was_the_group(
    make_job, backend, owner, admin, transitions
):
    alone, first, second = (make_job("pending") for _ in range(3))
    jobs.cancel(backend, alone.id, admin)
    groups.create_group(backend, owner, [first.id, second.id], None, [], execute=True)
    groups.cancel_group(backend, 1, owner)
    assert [each.cause for each in transitions(alone)] == [None, "~admin cancelled it."]
    assert [each.cause for each in transitions(first)] == [
        *(None, "Started with its group 1.", "~owner cancelled it with its group 1."),
    ]


def test_a_lost_build_host_is_the_cause_but_of_no_cancel(make_job, backend, owner, transitions):
    lost, cancelled = make_job(), make_job()
    for job in (lost, cancelled):
        run = claim(backend, job.id, RUNNER)
        runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    jobs.cancel(backend, cancelled.id, owner)
    with backend.transaction() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(Job).values(lease_expires=past))
    runs.expire_leases(backend)
    assert transitions(lost)[-1][2:5] == (F, 1, f"The build host {RUNNER} was lost.")
    assert transitions(cancelled)[-1][2:5] == (C, 1, "~owner cancelled it.")


def test_whoever_was_the_first_to_cancel_a_job_that_runs_is_the_cause(
    make_job, backend, owner, admin, transitions
):
    job = make_job()
    run = claim(backend, job.id, RUNNER)
    for viewer in (admin, owner):
        jobs.cancel(backend, job.id, viewer)
    assert finish(backend, run, F, "task build: exit status 1") == C
    assert transitions(job)[-1][2:5] == (C, 1, "~admin cancelled it.")


def test_what_is_older_than_events_is_told_from_the_times_of_its_row(
    make_job, forget_events, set_times, transitions, events
):
    job = make_job("failed")
    forget_events(job)
    set_times(job, created=0, queued=10, started=12, finished=15)
    assert events(job) == []
    found = transitions(job)
    assert moves(found) == [(None, P), (P, Q), (Q, R), (R, F)]
    assert [each.milliseconds for each in found] == [10_000, 2000, 3000, None]
    assert [each.attempt for each in found] == [0, 0, 1, 1]
    assert [each.cause for each in found] == [None] * 4


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", [(None, P)]),
        ("queued", [(None, Q)]),
        ("running", [(None, Q), (Q, R)]),
    ],
)
def test_only_what_has_been_is_told_of_an_old_job(
    make_job, forget_events, transitions, status, expected
):
    job = make_job(status)
    forget_events(job)
    assert moves(transitions(job)) == expected


def test_a_job_that_was_upgraded_while_it_ran_is_told_as_a_whole(make_job, backend, transitions):
    job = make_job("success")
    with backend.transaction() as session:
        session.execute(delete(JobEvent).where(JobEvent.status != S))
    assert moves(transitions(job)) == [(None, Q), (Q, R), (R, S)]


def test_a_duration_is_never_more_than_the_api_can_say_nor_less_than_nothing(
    make_job, forget_events, set_times, transitions
):
    job = make_job("failed")
    forget_events(job)
    set_times(job, created=0, queued=0, started=10**7, finished=10**7 - 5)
    assert [each.milliseconds for each in transitions(job)] == [2**31 - 1, 0, None]


def test_a_job_that_was_changed_without_end_has_its_latest_events_and_all_its_transitions(
    make_job, backend, owner, events, transitions, monkeypatch
):
    monkeypatch.setattr(history, "MOST_EVENTS", 3)
    job = make_job("success")
    for number in range(4):
        jobs.update_job(backend, job.id, owner, note=str(number))
    assert [event.kind for event in events(job)] == [EventKind.SETTINGS] * 3
    assert len(transitions(job)) == 3


def test_of_several_jobs_each_has_its_own(make_job, backend):
    first, second = make_job("pending"), make_job("success", visibility=Visibility.PUBLIC)
    with backend.transaction() as session:
        found = history.transitions_of(session, [first, second])
    assert [len(found[each.id]) for each in (first, second)] == [1, 3]
