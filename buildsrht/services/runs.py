"""A build host's side of a job: claim it, keep the claim alive, move its tasks, end it.

A claim is a lease: runner, attempt number and a time until which the runner is believed to be
alive. Every write below is conditional on the attempt, so a host that was given up for dead and
comes back can change nothing.
"""

import enum
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.logs import LogName
from buildsrht.models import Fault, Job, JobStatus, Task, TaskStatus, Tree
from buildsrht.services.retries import Written, hand_back
from buildsrht.status import move_job, move_task
from buildsrht.storage import StorageError

log = logging.getLogger(__name__)

# A job may be queued and in no Redis list for a moment: committed but not yet sent, or taken by
# a worker that has not claimed it yet.
QUEUE_SETTLE = timedelta(seconds=5)


@dataclass(frozen=True)
class Run:
    """One attempt at a job: all that a build host needs to know of it."""

    job_id: int
    attempt: int
    runner: str
    owner: str
    manifest: str
    image: str
    arch: str
    secrets: bool
    task_ids: dict[str, int]
    # What is unpacked in place of a source.
    tree: Tree | None = None

    @property
    def is_ours(self) -> ColumnElement[bool]:
        """True of the job's row for as long as this attempt runs it."""
        return (
            (Job.id == self.job_id)
            & (Job.status == JobStatus.RUNNING)
            & (Job.attempt == self.attempt)
            & (Job.runner == self.runner)
        )


class Summons(enum.Enum):
    """Why a build host should let go of a job."""

    CANCELLED = "its owner cancelled it"
    LOST = "it is no longer this build host's"


def claim(backend: Backend, job_id: int, runner: str) -> Run | None:
    """Make a queued job ours, or None when somebody else has it or it was cancelled."""
    try:
        with backend.transaction() as session:
            move_job(
                session,
                job_id,
                JobStatus.RUNNING,
                cause=f"Taken by the build host {runner}.",
                runner=runner,
                attempt=Job.attempt + 1,
                started=func.now(),
                lease_expires=_lease_end(backend),
            )
            job = session.get_one(Job, job_id)
            return Run(
                job_id=job.id,
                attempt=job.attempt,
                runner=runner,
                owner=job.owner.name,
                manifest=job.manifest,
                image=job.image,
                arch=job.arch,
                secrets=job.secrets,
                task_ids={task.name: task.id for task in job.tasks},
                tree=session.get(Tree, job.tree_id) if job.tree_id is not None else None,
            )
    except Conflict:
        return None


def check(backend: Backend, run: Run) -> Summons | None:
    """Is the job still ours to run? Cheap enough to ask several times a second."""
    with backend.transaction() as session:
        row = session.execute(select(Job.cancel_requested).where(run.is_ours)).one_or_none()
    if row is None:
        return Summons.LOST
    return Summons.CANCELLED if row.cancel_requested else None


def renew(backend: Backend, run: Run) -> None:
    """Extend the lease; a lease that is lost stays lost, which `check` tells."""
    with backend.transaction() as session:
        session.execute(update(Job).where(run.is_ours).values(lease_expires=_lease_end(backend)))


def _lease_end(backend: Backend) -> ColumnElement[datetime]:
    return func.now() + timedelta(seconds=backend.config.worker.lease)


def move_run_task(backend: Backend, run: Run, task_id: int, to: TaskStatus) -> None:
    """Move a task of a job that is still ours; Conflict otherwise."""
    with backend.transaction() as session:
        require_ours(session, run)
        move_task(session, task_id, to)


def require_ours(session: Session, run: Run) -> None:
    """Raise Conflict unless the job is still this run's, and keep it so until the transaction
    ends."""
    if session.scalar(select(Job.id).where(run.is_ours).with_for_update()) is None:
        raise Conflict(f"job {run.job_id} is no longer run by {run.runner}")


def record_plan(backend: Backend, run: Run, **facts: Any) -> None:
    """Write down what only the build host knows of a job: see buildsrht.services.plans. Raises
    Conflict when the job is no longer ours."""
    with backend.transaction() as session:
        require_ours(session, run)
        session.execute(
            update(Job)
            .where(run.is_ours)
            .values(plan=Job.plan.op("||")(cast(facts, JSONB)))
            .execution_options(synchronize_session=False)
        )


def finish(
    backend: Backend,
    run: Run,
    status: JobStatus,
    cause: str | None = None,
    fault: Fault | None = None,
) -> JobStatus:
    """End the job and return how it ended.

    A cancel that was accepted wins over any other end, so that its `{}` was never a lie. Raises
    Conflict when the job is no longer ours.
    """
    with backend.transaction() as session:
        try:
            not_cancelled = Job.cancel_requested.is_(None)
            end_job(
                session, run.job_id, status, run.is_ours, not_cancelled, cause=cause, fault=fault
            )
            return status
        except Conflict:
            cause = session.scalar(select(Job.cancel_cause).where(Job.id == run.job_id))
            end_job(session, run.job_id, JobStatus.CANCELLED, run.is_ours, cause=cause)
            return JobStatus.CANCELLED


def end_job(
    session: Session,
    job_id: int,
    status: JobStatus,
    *only_if: ColumnElement[bool],
    cause: str | None = None,
    fault: Fault | None = None,
) -> None:
    """Move a running job to its end, and with it the task that was running."""
    is_running = Job.status == JobStatus.RUNNING
    changes = {"lease_expires": None, "fault": fault}
    move_job(session, job_id, status, is_running, *only_if, cause=cause, **changes)
    interrupted = session.scalars(
        select(Task.id).where(Task.job_id == job_id, Task.status == TaskStatus.RUNNING)
    ).all()
    for task_id in interrupted:
        move_task(session, task_id, TaskStatus.FAILED)


def end_abandoned(session: Session, job: Job, cause: str) -> None:
    """End a job that nobody runs any more, which is our fault. A cancel that was accepted is kept,
    as in `finish`."""
    is_ours = Job.attempt == job.attempt
    if job.cancel_requested:
        end_job(session, job.id, JobStatus.CANCELLED, is_ours, cause=job.cancel_cause)
    else:
        end_job(session, job.id, JobStatus.FAILED, is_ours, cause=cause, fault=Fault.SERVICE)


def log_names(session: Session, job_id: int) -> list[LogName]:
    """Every log of a job, the setup log first."""
    task_ids = session.scalars(
        select(Task.id).where(Task.job_id == job_id).order_by(Task.position)
    ).all()
    return [LogName(job_id, None), *(LogName(job_id, task_id) for task_id in task_ids)]


# --- what the janitor asks --------------------------------------------------------------------


def requeue_missing(backend: Backend) -> list[int]:
    """Send again what the database says is queued and Redis has forgotten."""
    with backend.transaction() as session:
        queued = session.scalars(
            select(Job.id)
            .where(Job.status == JobStatus.QUEUED, Job.queued < func.now() - QUEUE_SETTLE)
            .order_by(Job.id)
        ).all()
    return backend.queue.enqueue_missing(queued)


def expire_leases(backend: Backend) -> list[int]:
    """End every job whose build host has not been heard of in time, or have it begun again. Returns
    their ids.

    Each in a transaction of its own, so that one that cannot be ended now holds up no other.
    """
    with backend.transaction() as session:
        expired = session.scalars(select(Job.id).where(_lease_expired())).all()
    return [job_id for job_id in expired if _resolve_lost(backend, job_id)]


def _lease_expired() -> ColumnElement[bool]:
    return (Job.status == JobStatus.RUNNING) & (Job.lease_expires < func.now())


def _resolve_lost(backend: Backend, job_id: int) -> bool:
    """End one job, or have it begun again; False when somebody else does, or it is alive after all.
    As everywhere, its logs are sealed before its status is final."""
    try:
        if _hand_back_lost(backend, job_id):
            return True
        with backend.transaction() as session:
            job = session.scalar(
                select(Job)
                .where(Job.id == job_id, _lease_expired())
                .with_for_update(skip_locked=True, of=Job)
            )
            if job is None:
                return False
            sealed = _seal_lost_logs(backend, session, job)
            end_abandoned(session, job, _lost(job))
    except (OSError, RedisError, SQLAlchemyError, StorageError) as error:
        log.warning("job %d lost its build host and cannot be ended yet: %s", job_id, error)
        return False
    for name in sealed:
        backend.logs.drop_live(name, job.attempt)
    return True


def _hand_back_lost(backend: Backend, job_id: int) -> bool:
    with backend.transaction() as session:
        job = session.scalar(select(Job).where(Job.id == job_id, _lease_expired()))
    if job is None:
        return False
    lost = (Job.id == job.id) & (Job.attempt == job.attempt) & _lease_expired()
    name = LogName(job.id, None)

    def written() -> Written:
        # Its host may still be there, and not know: what it sends from now on nobody sees.
        backend.logs.fence(name, job.attempt + 1)
        return b"".join(backend.logs.live_chunks(name)), backend.logs.live_marks(name)

    return hand_back(backend, lost, _lost(job), written, if_free=True)


def _lost(job: Job) -> str:
    return f"The build host {job.runner} was lost."


def _seal_lost_logs(backend: Backend, session: Session, job: Job) -> list[LogName]:
    """Keep what Redis has of a lost host's logs, and say on the last one what happened."""
    names = log_names(session, job.id)
    written = [name for name in names if backend.redis.exists(name.live_key)] or names[:1]
    said = f"\n{_lost(job)}\n".encode()
    for name in written:
        last_words = [said] if name == written[-1] else []
        chunks = chain(backend.logs.live_chunks(name), last_words)
        backend.logs.seal(session, name, job.attempt, chunks, backend.logs.live_marks(name))
    return written
