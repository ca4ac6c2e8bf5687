"""How long each phase of a job took: waiting, starting its machine, packages, sources, tasks, and
what comes after these.

Events tell when a job was queued and taken, and when its tasks ran. What goes on before the tasks
only its build host knows, which writes each beginning into `job.plan`, by the clock of the database
as everything else:

    phases          pairs of a phase and when it began, in Unix milliseconds

A job that was run before there were such pairs has its packages and sources in `starting`.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import cast, func, update
from sqlalchemy.dialects.postgresql import JSONB

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.models import EventKind, Job, JobEvent, TaskStatus
from buildsrht.services.runs import Run


class Name(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    PACKAGES = "packages"
    SOURCES = "sources"
    TASKS = "tasks"
    # Artifacts, logs, a machine that is kept.
    ENDING = "ending"


class Phase(NamedTuple):
    """`seconds` is how long it took, or has taken if it is what goes on now."""

    name: Name
    seconds: float
    goes_on: bool


class _Beginning(NamedTuple):
    time: datetime
    name: Name


# --- what a build host writes -------------------------------------------------------------------


def begin(backend: Backend, run: Run, name: Name) -> None:
    """Write down that a phase begins now. Raises Conflict when the job is no longer ours."""
    now = func.floor(1000 * func.extract("epoch", func.clock_timestamp()))
    pair = func.jsonb_build_array(func.jsonb_build_array(name.value, now))
    begun = func.coalesce(Job.plan["phases"], cast([], JSONB)).op("||")(pair)
    with backend.transaction() as session:
        written = session.execute(
            update(Job)
            .where(run.is_ours)
            .values(plan=Job.plan.op("||")(func.jsonb_build_object("phases", begun)))
            .returning(Job.id)
            .execution_options(synchronize_session=False)
        )
        if written.first() is None:
            raise Conflict(f"job {run.job_id} is no longer run by {run.runner}")


# --- what everybody reads -----------------------------------------------------------------------


def phases_of(job: Job, events: Sequence[JobEvent], now: datetime | None = None) -> list[Phase]:
    """The phases that a job has come into, in their order. `events` are all that happened to it."""
    beginnings = list(_beginnings(job, events))
    if not beginnings:
        return []
    end = job.finished or now or datetime.now(UTC)
    ends = [*(beginning.time for beginning in beginnings[1:]), end]
    seconds: dict[Name, float] = {}
    for (time, name), upto in zip(beginnings, ends, strict=True):
        seconds[name] = seconds.get(name, 0) + max(0.0, (upto - time) / timedelta(seconds=1))
    last = None if job.finished else beginnings[-1].name
    return [Phase(name, seconds[name], name == last) for name in Name if name in seconds]


class TaskTime(NamedTuple):
    """`ended` is None while it runs."""

    begun: datetime
    ended: datetime | None


def task_times(events: Sequence[JobEvent]) -> dict[int, TaskTime]:
    """When each task ran that did, by its id; `events` are all that happened to its job."""
    times: dict[int, TaskTime] = {}
    for event in events:
        if event.task_id is None:
            continue
        if event.task_status == TaskStatus.RUNNING:
            times[event.task_id] = TaskTime(event.created, None)
        elif event.task_id in times:
            times[event.task_id] = times[event.task_id]._replace(ended=event.created)
    return times


def _beginnings(job: Job, events: Sequence[JobEvent]) -> Iterator[_Beginning]:
    """Each is at least as late as the one before."""
    if job.queued:
        yield _Beginning(job.queued, Name.QUEUED)
    if job.started is None:
        return
    latest = job.started
    yield _Beginning(latest, Name.STARTING)
    for time, name in [*_noted(job), *_told(job, events)]:
        latest = max(latest, time)
        yield _Beginning(latest, name)


def _noted(job: Job) -> Iterator[_Beginning]:
    for name, milliseconds in job.plan.get("phases", []):
        yield _Beginning(datetime.fromtimestamp(milliseconds / 1000, UTC), Name(name))


def _told(job: Job, events: Sequence[JobEvent]) -> Iterator[_Beginning]:
    """From the first task on a build host is silent, as its tasks' events tell the same."""
    moves = [event for event in events if event.kind == EventKind.TASK]
    begun = [event for event in moves if event.task_status == TaskStatus.RUNNING]
    ended = [event for event in moves if event.task_status != TaskStatus.RUNNING]
    if begun:
        yield _Beginning(begun[0].created, Name.TASKS)
    if ended and _has_no_task_left(job):
        yield _Beginning(ended[-1].created, Name.ENDING)


def _has_no_task_left(job: Job) -> bool:
    """Whether no task runs or will run: after one that failed, none does."""
    statuses = {task.status for task in job.tasks}
    if TaskStatus.RUNNING in statuses:
        return False
    return TaskStatus.FAILED in statuses or TaskStatus.PENDING not in statuses
