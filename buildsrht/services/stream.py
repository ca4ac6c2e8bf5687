"""What happens to a job, as it happens, for those who watch it: the same for whoever comes later.

Told is what happened, in that order: that a task runs before anything of its log, all of its log
before its end, all logs and artifacts before the job's end, and after that no more. The setup log
grows between tasks, too; who comes later is told all of it first. A job that is older than the
events of jobs has its logs, its artifacts and its end.

With each goes a cursor. Who comes back with it is told what comes after, nothing twice and nothing
left out: the ids of a job's events become visible in their order, as buildsrht.events says.

Live logs are asked for often and of Redis alone, everything else of the database now and then. No
transaction is held while nothing happens. Knows nothing of HTTP.
"""

import codecs
import logging
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, Gone, NotFound
from buildsrht.journal import of_job
from buildsrht.logs import LogName, LogView
from buildsrht.models import (
    Artifact,
    EventKind,
    Job,
    JobEvent,
    JobStatus,
    Task,
    TaskStatus,
    User,
    Visibility,
)
from buildsrht.services.jobs import may_see, require_job

log = logging.getLogger(__name__)

# Between two looks into the database.
LOOK_SECONDS = 0.3
# The most bytes of a log that are told at once.
PART = 64 * 1024
NEVER_RAN = (TaskStatus.PENDING, TaskStatus.SKIPPED)
CURSOR = re.compile(r"([0-9]{1,18}-){5}[01]")

# Asked so often, for everybody who watches, that it is built once.
GLANCE = select(
    Job.status,
    Job.owner_id,
    Job.visibility,
    select(func.max(JobEvent.id)).where(JobEvent.job_id == Job.id).scalar_subquery(),
    select(func.max(Artifact.id)).where(Artifact.job_id == Job.id).scalar_subquery(),
).where(Job.id == bindparam("job_id"))


class Cursor(NamedTuple):
    """How much of a job has been told."""

    event: int = 0
    artifact: int = 0
    # The length of the setup log.
    setup: int = 0
    # How many tasks have begun, and the length of the last one's log.
    tasks: int = 0
    offset: int = 0
    # Whether the job's end has been told.
    over: int = 0

    def __str__(self) -> str:
        return "-".join(map(str, self))


def read_cursor(text: str) -> Cursor:
    if not CURSOR.fullmatch(text):
        raise BadInput([FieldError("last_event_id", "must be the id of an event of this job")])
    return Cursor(*map(int, text.split("-")))


class JobMoved(NamedTuple):
    status: JobStatus
    cause: str | None
    date: datetime


class TaskMoved(NamedTuple):
    task: str
    status: TaskStatus
    date: datetime


class LogGrew(NamedTuple):
    """From `offset` to `size`, in bytes. Without a task it is the setup log."""

    task: str | None
    offset: int
    size: int
    text: str | None


class ArtifactKept(NamedTuple):
    artifact: Artifact


class JobOver(NamedTuple):
    status: JobStatus


Happening = JobMoved | TaskMoved | LogGrew | ArtifactKept | JobOver


class Told(NamedTuple):
    what: Happening
    cursor: Cursor


def follow(
    backend: Backend,
    job_id: int,
    viewer: User | None,
    after: Cursor,
    *,
    logs: bool = True,
    text: bool = True,
) -> Iterator[Told | None]:
    """What has happened and happens to a job after the cursor. None each time that there is no more
    for now: whoever iterates waits a little then, and goes on. It ends when the job is over, or
    cannot be seen any more.

    `logs` and `text` say whether what logs say is told at all, and in words.
    """
    with backend.transaction() as session:
        job = require_job(session, job_id, viewer)
    if after.tasks > len(job.tasks):
        raise BadInput([FieldError("last_event_id", f"is no event of job {job_id}")])
    return _Follower(backend, job_id, viewer, after, logs, text).follow()


class _Glance(NamedTuple):
    """Enough to know whether there is anything new."""

    status: JobStatus
    owner_id: int
    visibility: Visibility
    event_id: int | None
    artifact_id: int | None


class _News(NamedTuple):
    events: Sequence[JobEvent]
    artifacts: Sequence[Artifact]
    tasks: Sequence[Task]


class _Follower:
    def __init__(
        self,
        backend: Backend,
        job_id: int,
        viewer: User | None,
        at: Cursor,
        logs: bool,
        text: bool,
    ):
        self._backend = backend
        self._job_id = job_id
        self._viewer = viewer
        self._at = at
        self._logs = logs
        self._text = text
        self._seen: _Glance | None = None
        self._tasks: Sequence[Task] = ()

    def follow(self) -> Iterator[Told | None]:
        look_at = time.monotonic()
        try:
            while not self._at.over:
                if time.monotonic() >= look_at:
                    yield from self._look()
                    look_at = time.monotonic() + LOOK_SECONDS
                else:
                    yield from self._listen()
                yield None
        except NotFound:
            return

    # --- the database ---------------------------------------------------------------------------

    def _look(self) -> Iterator[Told]:
        with self._backend.transaction() as session:
            glance = self._glance(session)
            # What is over by now is seen whole: its end is the last thing that was written.
            news = self._find_news(session) if glance != self._seen else None
        if news is None:
            yield from self._listen()
            return
        self._seen = glance
        self._tasks = news.tasks
        for event in news.events:
            yield from self._tell_event(event, news.artifacts, glance.status.is_final)
        if glance.status.is_final:
            yield from self._tell_rest(news.artifacts)
            yield self._tell(JobOver(glance.status), over=1)
        else:
            yield from self._tell_artifacts(news.artifacts)
            yield from self._tell_log(0)
            yield from self._listen()

    def _glance(self, session: Session) -> _Glance:
        row = session.execute(GLANCE, {"job_id": self._job_id}).one_or_none()
        glance = _Glance(*row) if row else None
        if glance is None or not may_see(self._viewer, glance):
            raise NotFound(f"there is no job {self._job_id} any more")
        return glance

    def _find_news(self, session: Session) -> _News:
        of_job = JobEvent.job_id == self._job_id
        events = select(JobEvent).where(
            of_job, JobEvent.id > self._at.event, JobEvent.kind != EventKind.SETTINGS
        )
        artifacts = select(Artifact).where(
            Artifact.job_id == self._job_id, Artifact.id > self._at.artifact
        )
        tasks = select(Task).where(Task.job_id == self._job_id)
        return _News(
            session.scalars(events.order_by(JobEvent.id)).all(),
            session.scalars(artifacts.order_by(Artifact.id)).all(),
            # The last, so that they are not behind the events.
            session.scalars(tasks.order_by(Task.position)).all(),
        )

    # --- what is told of it ---------------------------------------------------------------------

    def _tell(self, what: Happening, **at: int) -> Told:
        self._at = self._at._replace(**at)
        return Told(what, self._at)

    def _tell_event(
        self, event: JobEvent, artifacts: Sequence[Artifact], is_over: bool
    ) -> Iterator[Told]:
        if event.kind == EventKind.TASK:
            yield from self._tell_task(event, is_over)
            return
        if event.status.is_final:
            yield from self._tell_rest(artifacts)
        moved = JobMoved(event.status, event.cause, event.created)
        yield self._tell(moved, event=event.id)

    def _tell_task(self, event: JobEvent, is_over: bool) -> Iterator[Told]:
        number, task = next(
            found for found in enumerate(self._tasks, start=1) if found[1].id == event.task_id
        )
        status = event.task_status or task.status
        moved = TaskMoved(task.name, status, event.created)
        if status == TaskStatus.RUNNING:
            yield from self._tell_log(0, to_end=is_over)
            yield self._tell(moved, event=event.id, tasks=number, offset=0)
            return
        if status not in NEVER_RAN:
            yield from self._tell_log_of_task(number)
        yield self._tell(moved, event=event.id)

    def _tell_rest(self, artifacts: Sequence[Artifact]) -> Iterator[Told]:
        """All that is left but the job's end itself."""
        yield from self._tell_log(0, to_end=True)
        for number, task in enumerate(self._tasks, start=1):
            if task.status not in NEVER_RAN:
                yield from self._tell_log_of_task(number)
        yield from self._tell_artifacts(artifacts)

    def _tell_artifacts(self, artifacts: Sequence[Artifact]) -> Iterator[Told]:
        for artifact in artifacts:
            if artifact.id > self._at.artifact:
                yield self._tell(ArtifactKept(artifact), artifact=artifact.id)

    # --- logs -----------------------------------------------------------------------------------

    def _listen(self) -> Iterator[Told]:
        """What is new in the log that grows now."""
        if self._seen is None or self._seen.status != JobStatus.RUNNING:
            return
        number = self._at.tasks
        is_running = number > 0 and self._tasks[number - 1].status == TaskStatus.RUNNING
        yield from self._tell_log(number if is_running else 0)

    def _tell_log_of_task(self, number: int) -> Iterator[Told]:
        """All that is left. As tasks run one by one, nothing is of those before the last that has
        begun."""
        if number > self._at.tasks:
            self._at = self._at._replace(tasks=number, offset=0)
        if number == self._at.tasks:
            yield from self._tell_log(number, to_end=True)

    def _tell_log(self, number: int, *, to_end: bool = False) -> Iterator[Told]:
        """What is new in the log of the task with this number from 1, or in the setup log."""
        if not self._logs:
            return
        task = self._tasks[number - 1] if number else None
        view = self._view(LogName(self._job_id, task.id if task else None), to_end)
        place = "offset" if number else "setup"
        while (offset := getattr(self._at, place)) < view.size:
            text, size = self._read(view, offset, to_end)
            if size == offset:
                return
            grew = LogGrew(task.name if task else None, offset, size, text)
            yield self._tell(grew, **{place: size})

    def _view(self, name: LogName, to_end: bool) -> LogView:
        if not to_end:
            return self._backend.logs.live_view(name)
        with self._backend.transaction() as session:
            return self._backend.logs.view(session, name)

    def _read(self, view: LogView, offset: int, to_end: bool) -> tuple[str | None, int]:
        """The next part of a log, and where that ends."""
        if not self._text:
            return None, view.size
        upto = min(offset + PART, view.size)
        try:
            data = b"".join(view.read(offset, upto))
        except Gone:
            return "", view.size
        except FileNotFoundError:
            # It went out of Redis, and is not in storage: its build host puts it back.
            if not to_end:
                return "", offset
            log.error("a log is not in storage", extra=of_job(self._job_id))
            return "", view.size
        return _decode(data, offset, is_all=to_end and upto == view.size)


def _decode(data: bytes, offset: int, *, is_all: bool) -> tuple[str, int]:
    """Text, and where it ends: before a character whose other bytes are still to come."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data, final=is_all)
    held, _ = decoder.getstate()
    return text, offset + len(data) - len(held)
