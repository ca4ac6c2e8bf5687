"""What there is to see at a glance: how jobs went lately, what a user has under way, and how busy
the queue is.

Each is a query or two that read a page of rows, however many jobs there are.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from redis.exceptions import RedisError
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, defer
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.models import Job, JobStatus, Runner, User
from buildsrht.queue import SILENCE, Slots
from buildsrht.services.search import has_path, visible_ids

TREND = 60
UNDER_WAY = 25
# A cancelled job says nothing about what it was to build.
OUTCOMES = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.TIMEOUT)


class Ended(NamedTuple):
    """`seconds` is how long it ran, None if it never did."""

    id: int
    status: JobStatus
    seconds: float | None


class Trend(NamedTuple):
    """The last jobs that ended, the oldest first."""

    jobs: Sequence[Ended]

    @property
    def outcomes(self) -> Sequence[Ended]:
        return [job for job in self.jobs if job.status in OUTCOMES]

    @property
    def succeeded(self) -> int:
        return sum(job.status == JobStatus.SUCCESS for job in self.jobs)

    @property
    def median_seconds(self) -> float | None:
        """Of those that came to something."""
        seconds = [job.seconds for job in self.outcomes if job.seconds is not None]
        return median(seconds) if seconds else None


class QueueNow(NamedTuple):
    """`slots` is None while nobody can say; `hosts` are the build hosts that were heard of."""

    running: int
    waiting: int
    hosts: int
    slots: Slots | None


def trend(
    session: Session, viewer: User | None, owner: User, tag_path: Sequence[str] = ()
) -> Trend:
    """Of those of the owner's jobs that the viewer may find."""
    conditions = [Job.finished.is_not(None), *has_path(tag_path)]
    ids = visible_ids(viewer, owner, conditions, TREND)
    seconds = func.extract("epoch", Job.finished - Job.started)
    asked = select(Job.id, Job.status, seconds.label("seconds"))
    rows = session.execute(asked.where(Job.id.in_(ids)).order_by(Job.id)).all()
    # The clock of the database may have been set back.
    return Trend([Ended(id, status, took and max(0.0, float(took))) for id, status, took in rows])


def under_way(session: Session, owner: User, count: int = UNDER_WAY) -> Sequence[Job]:
    """A user's jobs that are not over: those that run, then those that wait, the newest first."""
    order = case({JobStatus.RUNNING: 0, JobStatus.QUEUED: 1}, value=Job.status, else_=2)
    jobs = (
        select(Job)
        .where(Job.owner_id == owner.id, Job.status.in_(_unfinished()))
        .order_by(order, Job.id.desc())
        .limit(count)
        .options(defer(Job.manifest, raiseload=True))
    )
    return session.scalars(jobs).all()


def queue_now(backend: Backend) -> QueueNow:
    with backend.transaction() as session:
        counted = (
            select(Job.status, func.count())
            .where(Job.status.in_(_unfinished()))
            .group_by(Job.status)
        )
        counts: dict[JobStatus, int] = dict(session.execute(counted).all())
        heard = select(func.count()).where(Runner.seen > func.now() - SILENCE)
        hosts = session.scalar(heard) or 0
    return QueueNow(
        counts.get(JobStatus.RUNNING, 0), counts.get(JobStatus.QUEUED, 0), hosts, slots_now(backend)
    )


def oldest_waiting(session: Session, *only_if: ColumnElement[bool]) -> Job | None:
    """Which job is in the queue for the longest time; of those for which all of this holds."""
    waiting = select(Job).where(Job.status == JobStatus.QUEUED, *only_if)
    waiting = waiting.order_by(Job.queued, Job.id)
    return session.scalar(waiting.limit(1).options(defer(Job.manifest, raiseload=True)))


def _unfinished() -> list[JobStatus]:
    return [status for status in JobStatus if not status.is_final]


def slots_now(backend: Backend) -> Slots | None:
    """None while Redis does not say."""
    try:
        return backend.queue.slots()
    except RedisError:
        return None
