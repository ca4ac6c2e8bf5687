"""Why a job has not been started yet: every reason, as a word and as a sentence.

What it costs does not grow with the queue.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, timedelta
from typing import NamedTuple

from redis.exceptions import RedisError
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.models import Job, JobStatus
from buildsrht.queue import Slots
from buildsrht.services import runners
from buildsrht.services.dispatch import MOST_COUNTED, count_running, jobs_before, route_of


class WaitCode(enum.StrEnum):
    NOT_STARTED = "NOT_STARTED"
    GROUP_NOT_STARTED = "GROUP_NOT_STARTED"
    IN_QUEUE = "IN_QUEUE"
    LIMIT = "LIMIT"
    HOSTS_BUSY = "HOSTS_BUSY"
    NO_FITTING_HOST = "NO_FITTING_HOST"
    NO_HOST = "NO_HOST"
    QUEUE_AWAY = "QUEUE_AWAY"


class Reason(NamedTuple):
    code: WaitCode
    text: str


_AWAY = Reason(
    WaitCode.QUEUE_AWAY,
    "The queue does not answer. The job is not lost: it is run when the queue is back.",
)


def reasons(
    backend: Backend, job: Job, look_at_slots: Callable[[], Slots] | None = None
) -> list[Reason]:
    """Why a job waits; none, if it does not, or is about to be taken. Whoever asks of several jobs
    may look at the slots once for all of them."""
    if job.status == JobStatus.PENDING:
        return [_why_held_back(job)]
    if job.status == JobStatus.QUEUED:
        return _why_queued(backend, job, look_at_slots or backend.queue.slots)
    return []


def reasons_of(backend: Backend, jobs: Iterable[Job]) -> dict[int, list[Reason]]:
    """Why each of these waits that does, by its id. A queue that is away is asked once for all."""
    waiting = [job for job in jobs if job.status in (JobStatus.PENDING, JobStatus.QUEUED)]
    if not waiting:
        return {}
    try:
        slots = backend.queue.slots()
    except RedisError:
        return {
            job.id: [_AWAY] if job.status == JobStatus.QUEUED else reasons(backend, job)
            for job in waiting
        }
    return {job.id: reasons(backend, job, lambda: slots) for job in waiting}


def _why_held_back(job: Job) -> Reason:
    if job.group_id is None:
        return Reason(
            WaitCode.NOT_STARTED,
            "It was submitted to be held back, and waits until its owner starts it.",
        )
    return Reason(
        WaitCode.GROUP_NOT_STARTED,
        f"It is in group {job.group_id}, and waits until its owner starts that.",
    )


def _why_queued(backend: Backend, job: Job, look_at_slots: Callable[[], Slots]) -> list[Reason]:
    try:
        slots = look_at_slots()
    except RedisError:
        return [_AWAY]
    with backend.transaction() as session:
        found = [*_its_turn(session, backend, job), *_its_hosts(session, backend, job)]
    if not slots.all:
        found.append(
            Reason(
                WaitCode.NO_HOST,
                "No build host is there to take it, which is for the operator to mend.",
            )
        )
    elif not slots.free:
        found.append(Reason(WaitCode.HOSTS_BUSY, _none_is_free(slots)))
    return found


def _its_turn(session: Session, backend: Backend, job: Job) -> Iterator[Reason]:
    """What of its owner's, or of all, has to end or to begin before."""
    before = jobs_before(session, job)
    if before:
        yield Reason(WaitCode.IN_QUEUE, _before_it(before))
    limits = backend.config.limits
    if limits.user_jobs and count_running(session, job.owner_id) >= limits.user_jobs:
        yield Reason(WaitCode.LIMIT, f"Its owner has {limits.user_jobs} jobs running, the most.")
    if limits.jobs and count_running(session) >= limits.jobs:
        yield Reason(WaitCode.LIMIT, f"{limits.jobs} jobs are running, the most there may be.")


def _its_hosts(session: Session, backend: Backend, job: Job) -> Iterator[Reason]:
    """Whether any of the hosts that were heard of could run it."""
    offers = list(runners.offers(session))
    if offers and not any(offer.fits(route_of(job)) for offer in offers):
        labels = f" and the labels {', '.join(job.labels)}" if job.labels else ""
        yield Reason(
            WaitCode.NO_FITTING_HOST,
            f"No build host has the image {job.image} ({job.arch}){labels},"
            f" which is for the operator to mend.{_until(backend, job)}",
        )


def _until(backend: Backend, job: Job) -> str:
    if job.queued is None:
        return ""
    until = job.queued + timedelta(seconds=backend.config.limits.wait)
    return f" It waits until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC, then it fails."


def _before_it(count: int) -> str:
    if count > MOST_COUNTED:
        return f"More than {MOST_COUNTED:,} of its owner's jobs are before it."
    return (
        "1 of its owner's jobs is before it."
        if count == 1
        else f"{count:,} of its owner's jobs are before it."
    )


def _none_is_free(slots: Slots) -> str:
    said = f"No slot for a job is free: {slots.all} in all, {slots.busy} busy"
    if slots.paused:
        said += f", {slots.paused} paused by a build host that is short of room or drained"
    return f"{said}."
