"""How long the phases of a job took, by what its build host wrote and what events tell."""

from datetime import UTC, datetime, timedelta

import pytest

from buildsrht.errors import Conflict
from buildsrht.models import EventKind, Job, JobEvent, JobStatus, Task, TaskStatus
from buildsrht.services import history, phases, runs
from buildsrht.services.phases import Name, phases_of
from tests.build_host import claim, finish

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(second):
    return START + timedelta(seconds=second)


def job_of(status, *tasks, plan=(), **times):
    pairs = [
        [name, (at(second) - datetime.fromtimestamp(0, UTC)) / timedelta(milliseconds=1)]
        for name, second in plan
    ]
    return Job(
        status=JobStatus(status),
        plan={"phases": pairs} if pairs else {},
        tasks=[Task(status=TaskStatus(each)) for each in tasks],
        **{name: at(second) for name, second in times.items()},
    )


def moved(second, to):
    return JobEvent(kind=EventKind.TASK, task_status=TaskStatus(to), created=at(second))


def seconds_of(job, *events, now=None):
    found = phases_of(job, events, at(now) if now is not None else None)
    return {phase.name: phase.seconds for phase in found}


@pytest.mark.parametrize(
    ("job", "events", "expected"),
    [
        (job_of("pending"), (), {}),
        (job_of("queued", queued=0), (), {"queued": 100}),
        (job_of("cancelled", queued=0, finished=7), (), {"queued": 7}),
        (job_of("running", queued=0, started=5), (), {"queued": 5, "starting": 95}),
        (
            job_of("running", "running", queued=0, started=5, plan=[("sources", 8)]),
            (moved(10, "running"),),
            {"queued": 5, "starting": 3, "sources": 2, "tasks": 90},
        ),
        (
            job_of("success", "success", "success", queued=0, started=1, finished=30),
            (moved(2, "running"), moved(9, "success"), moved(9, "running"), moved(25, "success")),
            {"queued": 1, "starting": 1, "tasks": 23, "ending": 5},
        ),
        (
            job_of("failed", "failed", "pending", queued=0, started=1, finished=30),
            (moved(2, "running"), moved(9, "failed")),
            {"queued": 1, "starting": 1, "tasks": 7, "ending": 21},
        ),
        (
            job_of("failed", "pending", queued=0, started=1, finished=60, plan=[("packages", 3)]),
            (),
            {"queued": 1, "starting": 2, "packages": 57},
        ),
        (
            job_of(
                *("running", "pending"),
                queued=0,
                started=10,
                plan=[("packages", 20), ("starting", 50), ("sources", 52)],
            ),
            (),
            {"queued": 10, "starting": 12, "packages": 30, "sources": 48},
        ),
    ],
    ids=[
        "held-back",
        "queued",
        "cancelled-in-the-queue",
        "starting",
        "in-a-task",
        "over",
        "a-task-failed",
        "packages-failed",
        "a-layer-was-made",
    ],
)
def test_a_job_in_each_phase(job, events, expected):
    assert seconds_of(job, *events, now=100) == expected


def test_the_last_phase_goes_on_until_the_job_is_over():
    running = phases_of(job_of("running", queued=0, started=5), (), at(9))
    over = phases_of(job_of("failed", queued=0, started=5, finished=9), ())
    assert [phase.goes_on for phase in running] == [False, True]
    assert [phase.goes_on for phase in over] == [False, False]


def test_a_clock_that_was_set_back_makes_nothing_negative():
    job = job_of("running", "running", queued=5, started=3, plan=[("sources", 1)])
    assert seconds_of(job, moved(2, "running"), now=2) == {
        "queued": 0,
        "starting": 0,
        "sources": 0,
        "tasks": 0,
    }


def test_what_a_build_host_writes_is_read(backend, make_job, fetch):
    run = claim(backend, make_job().id, "host-1")
    for name in (Name.PACKAGES, Name.STARTING, Name.SOURCES):
        phases.begin(backend, run, name)
    runs.record_plan(backend, run, layer="l")

    job = fetch(run.job_id)
    assert [name for name, _ in job.plan["phases"]] == ["packages", "starting", "sources"]
    assert job.plan["layer"] == "l"
    with backend.transaction() as session:
        events = history.events_of(session, [job.id])[job.id]
    found = phases_of(job, events)
    assert [phase.name for phase in found] == ["queued", "starting", "packages", "sources"]
    assert sum(phase.seconds for phase in found) < 60


def test_who_lost_a_job_writes_nothing_of_it(backend, make_job, fetch):
    run = claim(backend, make_job().id, "host-1")
    finish(backend, run, JobStatus.FAILED)

    with pytest.raises(Conflict):
        phases.begin(backend, run, Name.SOURCES)
    assert fetch(run.job_id).plan == {}
