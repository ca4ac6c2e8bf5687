"""What has happened to a job, and how long it stayed in each state.

Of jobs that are older than events, the times in their rows tell all there is: in which states they
were, and since when.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildsrht.models import EventKind, Job, JobEvent, JobStatus

MOST_MILLISECONDS = 2**31 - 1


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


def events_of(session: Session, job: Job) -> Sequence[JobEvent]:
    """In the order in which they happened. A job has a few for each of its tasks."""
    return session.scalars(
        select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id)
    ).all()


def transitions_of(session: Session, job: Job) -> list[Transition]:
    """Every state that a job has been in, in that order."""
    kinds = (EventKind.CREATED, EventKind.STATUS)
    events = [event for event in events_of(session, job) if event.kind in kinds]
    if events and events[0].kind == EventKind.CREATED:
        arrivals = [
            _Arrival(event.created, event.status, event.attempt, event.cause) for event in events
        ]
    else:
        arrivals = _derived(job)
    ends = [*(arrival.date for arrival in arrivals[1:]), None]
    befores = [None, *(arrival.to for arrival in arrivals)]
    return [
        Transition(
            date=arrival.date,
            came_from=before,
            to=arrival.to,
            attempt=arrival.attempt,
            cause=arrival.cause,
            milliseconds=_milliseconds(end - arrival.date) if end else None,
        )
        for arrival, before, end in zip(arrivals, befores, ends, strict=False)
    ]


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
