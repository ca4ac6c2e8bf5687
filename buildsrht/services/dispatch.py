"""Which job a free build host takes next, and how it gets to know that there is one.

Fair is by turns: whoever has the fewest jobs running comes first, then who waits longest for a
turn, and of one user's jobs the oldest. So who submits a thousand jobs holds up nobody who submits
one. A host takes only what it can run: see `Offer`.

The queues only wake hosts. What they have lost, or hold too often, changes when a job is begun by
some seconds, and nothing else.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import func, literal, select, text, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.models import Job, JobStatus
from buildsrht.queue import Route
from buildsrht.services.runs import Run, begin

log = logging.getLogger(__name__)

MOST_COUNTED = 1000
# Any number, as long as nothing else takes an advisory lock of that number in this database.
TAKING = 0x74616B65
# Two that take at once would both see a limit that is not reached. One whose host hangs meanwhile
# must not keep all others waiting.
EXCLUSIVELY = text(
    f"""
    SET LOCAL idle_in_transaction_session_timeout = '3s';
    SELECT pg_advisory_xact_lock({TAKING})
    """
)

# For each who has jobs waiting, their oldest that the host can run. The users are found one by one
# by the index job_queued, so that it does not matter how many jobs wait. In a CASE the planner
# believes that a host can run half of them; else that it is next to none, and sorts them all.
FAIREST = text(
    """
    WITH RECURSIVE waiting (owner_id) AS (
        SELECT min(owner_id) FROM job WHERE status = 'queued'
        UNION ALL
        SELECT (SELECT min(owner_id) FROM job WHERE status = 'queued' AND owner_id > last.owner_id)
        FROM waiting AS last WHERE last.owner_id IS NOT NULL
    ), running (owner_id, jobs) AS (
        SELECT owner_id, count(*) FROM job WHERE status = 'running' GROUP BY owner_id
    )
    SELECT oldest.id
    FROM waiting
    JOIN "user" AS owner ON owner.id = waiting.owner_id
    LEFT JOIN running ON running.owner_id = waiting.owner_id
    CROSS JOIN LATERAL (
        SELECT job.id, job.queued FROM job
        WHERE job.owner_id = waiting.owner_id AND job.status = 'queued'
            AND CASE WHEN job.labels <@ :labels
                THEN job.image || ':' || job.arch = ANY (:platforms) END
        ORDER BY job.queued, job.id LIMIT 1
    ) AS oldest
    WHERE (:per_user = 0 OR coalesce(running.jobs, 0) < :per_user)
        AND (:in_all = 0 OR (SELECT coalesce(sum(jobs), 0) FROM running) < :in_all)
        AND NOT EXISTS (SELECT FROM runner WHERE name = :runner AND state <> 'active')
    ORDER BY coalesce(running.jobs, 0), owner.served NULLS FIRST, oldest.queued, oldest.id
    LIMIT 1
    """
)

SERVED = text('UPDATE "user" SET served = clock_timestamp() WHERE id = :owner_id')

# A moment ago a job may have been committed and not sent yet, or taken out of Redis by a host that
# has not claimed it yet.
SETTLE = timedelta(seconds=1)
# What may be begun now as far as limits go, by route, on each as many as if there were no other:
# what waits for a host that is not there keeps none of the rest from those that are.
DUE = text(
    """
    WITH waiting AS (
        SELECT *, rank() OVER (
            PARTITION BY owner_id, image, arch, labels ORDER BY queued, id
        ) AS turn
        FROM job WHERE status = 'queued' AND queued < now() - :settle
    ), allowed AS (
        SELECT *, rank() OVER (PARTITION BY image, arch, labels ORDER BY queued, id) AS place
        FROM waiting WHERE :per_user = 0 OR turn <= :per_user - (
            SELECT count(*) FROM job WHERE status = 'running' AND owner_id = waiting.owner_id
        )
    )
    SELECT image, arch, labels, id FROM allowed
    WHERE :in_all = 0 OR place <= :in_all - (SELECT count(*) FROM job WHERE status = 'running')
    ORDER BY image, arch, labels, queued, id
    """
)


@dataclass(frozen=True)
class Offer:
    """What a build host can run: jobs for these images, each with its processor, that ask for no
    other labels."""

    runner: str
    platforms: frozenset[tuple[str, str]]
    labels: frozenset[str] = frozenset()

    def fits(self, route: Route) -> bool:
        is_there = (route.image, route.arch) in self.platforms
        return is_there and self.labels.issuperset(route.labels)


def take(backend: Backend, offer: Offer) -> Run | None:
    """Begin the job whose turn it is on this host; None if there is none for it now, or if the host
    may not take any."""
    with backend.transaction() as session:
        session.execute(EXCLUSIVELY)
        job_id = session.scalar(FAIREST, asked(backend, offer))
        if job_id is None:
            return None
        run = begin(backend, session, job_id, offer.runner)
        session.execute(SERVED, {"owner_id": run.owner_id})
        return run


def asked(backend: Backend, offer: Offer) -> dict[str, Any]:
    """What FAIREST is asked for a host."""
    limits = backend.config.limits
    return {
        "runner": offer.runner,
        "platforms": [f"{image}:{arch}" for image, arch in offer.platforms],
        "labels": list(offer.labels),
        "per_user": limits.user_jobs,
        "in_all": limits.jobs,
    }


def route_of(job: Job) -> Route:
    return Route(job.image, job.arch, tuple(job.labels))


def announce(backend: Backend, *jobs: Job) -> None:
    """Tell the build hosts of jobs that were just queued. The database already says so: if Redis is
    away now, the janitor tells them later, so this never fails a request."""
    try:
        for route, those in groupby(sorted(jobs, key=route_of), key=route_of):
            backend.queue.enqueue(route, *(job.id for job in those))
    except RedisError as error:
        log.warning("%d jobs are queued but Redis is away: %s", len(jobs), error)


def withdraw(backend: Backend, *jobs: Job) -> None:
    """Wake nobody for jobs that wait no more; a host that wakes all the same does not get them."""
    try:
        for job in jobs:
            backend.queue.discard(route_of(job), job.id)
    except RedisError as error:
        log.warning("%d jobs stay in the queue, as Redis is away: %s", len(jobs), error)


def jobs_before(session: Session, job: Job) -> int:
    """How many of its owner's jobs are begun before this one; `MOST_COUNTED` + 1 stands for all
    that is more."""
    earlier = tuple_(Job.queued, Job.id) < tuple_(literal(job.queued), literal(job.id))
    found = select(Job.id).where(
        Job.owner_id == job.owner_id, Job.status == JobStatus.QUEUED, earlier
    )
    counted = select(func.count()).select_from(found.limit(MOST_COUNTED + 1).subquery())
    return session.scalar(counted) or 0


def count_running(session: Session, owner_id: int | None = None) -> int:
    """How many jobs run, of one user or of all."""
    running = select(func.count()).where(Job.status == JobStatus.RUNNING)
    return (
        session.scalar(running if owner_id is None else running.where(Job.owner_id == owner_id))
        or 0
    )


def announce_limited(backend: Backend) -> None:
    """When a job is over: wake a host for what waited for that, because of a limit."""
    if backend.config.limits.user_jobs or backend.config.limits.jobs:
        try:
            announce_missing(backend)
        except (RedisError, SQLAlchemyError) as error:
            log.warning("jobs that waited for a limit are left to the janitor: %s", error)


def announce_missing(backend: Backend) -> list[int]:
    """Wake hosts for what the database says is queued and the queues have too little of. Returns
    the ids of the jobs that were sent."""
    with backend.transaction() as session:
        due = _due(backend, session)
    return [
        job_id
        for route, those in groupby(due, key=lambda each: each[0])
        for job_id in backend.queue.enqueue_missing(route, [job_id for _, job_id in those])
    ]


def _due(backend: Backend, session: Session) -> list[tuple[Route, int]]:
    limits = backend.config.limits
    bounds = {"per_user": limits.user_jobs, "in_all": limits.jobs, "settle": SETTLE}
    rows = session.execute(DUE, bounds)
    return [(Route(row.image, row.arch, tuple(row.labels)), row.id) for row in rows]
