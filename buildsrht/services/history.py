"""What has happened to a job, and how long it stayed in each state.

Of jobs that are older than events, the times in their rows tell all there is: in which states they
were, and since when.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from buildsrht.models import EventKind, Job, JobEvent, JobStatus

MOST_MILLISECONDS = 2**31 - 1
# More than the states that a job and its tasks come into.
MOST_EVENTS = 1000


class Transition(NamedTuple):
    """A job came into a state, and how long it stayed there, unless it still is."""

    date: datetime
    came_from: JobStatus | None
    to: JobStatus
    attempt: int
    cause: str | None
    milliseconds: int | None


class _Arrival(NamedTuple):
    date: datetime
    to: JobStatus
    attempt: int
    cause: str | None = None


def events_of(session: Session, job_ids: Collection[int]) -> dict[int, list[JobEvent]]:
    """What has happened to each of these jobs, in that order, with the tasks that it happened to.
    Of one that was changed again and again by its owner, the latest only."""
    number = func.row_number().over(partition_by=JobEvent.job_id, order_by=JobEvent.id.desc())
    numbered = (
        select(JobEvent.id, number.label("number")).where(JobEvent.job_id.in_(job_ids)).subquery()
    )
    latest = (
        select(JobEvent)
        .join(numbered, numbered.c.id == JobEvent.id)
        .where(numbered.c.number <= MOST_EVENTS)
        .order_by(JobEvent.id)
        .options(joinedload(JobEvent.task))
    )
    return _by_job(job_ids, session.scalars(latest))


def transitions_of(session: Session, jobs: Collection[Job]) -> dict[int, list[Transition]]:
    """Every state that each of these jobs has been in, in that order."""
    kinds = (EventKind.CREATED, EventKind.STATUS)
    ids = [job.id for job in jobs]
    moves = (
        select(JobEvent)
        .where(JobEvent.job_id.in_(ids), JobEvent.kind.in_(kinds))
        .order_by(JobEvent.id)
    )
    events = _by_job(ids, session.scalars(moves))
    return {job.id: list(_transitions(_arrivals(job, events[job.id]))) for job in jobs}


def _by_job(job_ids: Collection[int], events: Iterable[JobEvent]) -> dict[int, list[JobEvent]]:
    found: dict[int, list[JobEvent]] = {job_id: [] for job_id in job_ids}
    for event in events:
        found[event.job_id].append(event)
    return found


def _transitions(arrivals: Sequence[_Arrival]) -> Iterator[Transition]:
    ends = [*(arrival.date for arrival in arrivals[1:]), None]
    origins = [None, *(arrival.to for arrival in arrivals[:-1])]
    for arrival, origin, end in zip(arrivals, origins, ends, strict=True):
        duration = _milliseconds(end - arrival.date) if end else None
        yield Transition(arrival.date, origin, arrival.to, arrival.attempt, arrival.cause, duration)


def _arrivals(job: Job, events: Sequence[JobEvent]) -> list[_Arrival]:
    if events and events[0].kind == EventKind.CREATED:
        return [
            _Arrival(event.created, event.status, event.attempt, event.cause) for event in events
        ]
    return _derived(job)


def _derived(job: Job) -> list[_Arrival]:
    """From the times in the job's row."""
    is_held_back = job.queued is None or job.queued > job.created
    arrivals = [
        _Arrival(job.created, JobStatus.PENDING, 0) if is_held_back else None,
        _Arrival(job.queued, JobStatus.QUEUED, 0) if job.queued else None,
        _Arrival(job.started, JobStatus.RUNNING, job.attempt) if job.started else None,
        _Arrival(job.finished, job.status, job.attempt) if job.finished else None,
    ]
    return [arrival for arrival in arrivals if arrival]


def _milliseconds(duration: timedelta) -> int:
    # The clock of the database may have been set back, and GraphQL's numbers end somewhere.
    return max(0, min(duration // timedelta(milliseconds=1), MOST_MILLISECONDS))
