"""Why a job has not been started yet: every reason, as a word and as a sentence.

What it costs does not grow with the queue.
"""

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple

from redis.exceptions import RedisError

from buildsrht.backend import Backend
from buildsrht.models import Job, JobStatus
from buildsrht.queue import Slots


class WaitCode(enum.StrEnum):
    NOT_STARTED = "NOT_STARTED"
    GROUP_NOT_STARTED = "GROUP_NOT_STARTED"
    IN_QUEUE = "IN_QUEUE"
    HOSTS_BUSY = "HOSTS_BUSY"
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
        position = backend.queue.position(job.id)
        slots = look_at_slots()
    except RedisError:
        return [_AWAY]
    found = []
    if position is None:
        found.append(
            Reason(
                WaitCode.QUEUE_AWAY,
                "The queue has yet to be told of it, which takes some seconds,"
                " or a build host is taking it right now.",
            )
        )
    if position:
        found.append(Reason(WaitCode.IN_QUEUE, _before_it(position)))
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


def _before_it(position: int) -> str:
    return "1 job is before it." if position == 1 else f"{position:,} jobs are before it."


def _none_is_free(slots: Slots) -> str:
    said = f"No slot for a job is free: {slots.all} in all, {slots.busy} busy"
    if slots.paused:
        said += f", {slots.paused} with too little disk, which is for the operator to mend"
    return f"{said}."
