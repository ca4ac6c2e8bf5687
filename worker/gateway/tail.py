"""A job's logs, from their beginning to the job's end.

Every byte comes once and in the order of its log. What the service cannot answer for a moment, as
when its database is restarted, is asked again.

Knows the services; a `LogTail` blocks, and knows nothing of ssh.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import NotFound
from buildsrht.logs import LogName
from buildsrht.models import Job, JobStatus, TaskStatus, User
from buildsrht.services.jobs import require_job
from buildsrht.storage import StorageError

# What one look hands out at most, and so what is in memory for a reader.
LOOK_BYTES = 256 * 1024
NOT_WRITTEN = (TaskStatus.PENDING, TaskStatus.SKIPPED)
# A log that moves from Redis to storage while it is read is found again by the next look.
AWAY = (OperationalError, InterfaceError, RedisError, StorageError, OSError)


class Piece(NamedTuple):
    log: LogName
    title: str
    data: bytes


@dataclass(frozen=True)
class Look:
    """What there is to see now, and was not before."""

    status: JobStatus
    pieces: list[Piece]
    # The job is over, and all that was written has been handed out.
    complete: bool


class LogTail:
    """Knows how far each log of one job has been read."""

    def __init__(self, backend: Backend, job_id: int, viewer: User):
        self._backend = backend
        self._job_id = job_id
        self._viewer = viewer
        self._read: dict[LogName, int] = {}
        self._current: LogName | None = None

    def look(self) -> Look:
        """Read on, as far as one look goes. Raises NotFound for a job that the viewer may not, or
        no longer, see; one that raises anything else has read nothing."""
        with self._backend.transaction() as session:
            job = require_job(session, self._job_id, self._viewer)
            pieces, is_all = self._pieces(session, job)
        for piece in pieces:
            self._read[piece.log] = self._read.get(piece.log, 0) + len(piece.data)
            self._current = piece.log
        return Look(job.status, pieces, complete=job.status.is_final and is_all)

    def _pieces(self, session: Session, job: Job) -> tuple[list[Piece], bool]:
        pieces = []
        left = LOOK_BYTES
        # The current one first: what it got since the last look is older than what others got.
        for log, title in sorted(_written(job), key=lambda log: log[0] != self._current):
            view = self._backend.logs.view(session, log)
            if view.removed:
                raise NotFound(f"the logs of job {job.id} were removed on {view.removed:%Y-%m-%d}")
            start = self._read.get(log, 0)
            end = min(view.size, start + left)
            data = b"".join(view.read(start, end))
            if data:
                pieces.append(Piece(log, title, data))
                left -= len(data)
            if start + len(data) < view.size:
                return pieces, False
        return pieces, True


def _written(job: Job) -> Iterator[tuple[LogName, str]]:
    """The logs that a build host writes or wrote, in order."""
    if job.runner:
        yield LogName(job.id, None), "setup"
    for task in job.tasks:
        if task.status not in NOT_WRITTEN:
            yield LogName(job.id, task.id), f"task {task.name}"
