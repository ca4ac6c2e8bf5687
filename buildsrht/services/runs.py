"""A build host's side of a job: claim it, keep the claim alive, move its tasks, end it.

A claim is a lease: runner, attempt number and a time until which the runner is believed to be
alive. Every write below is conditional on the attempt, so a host that was given up for dead and
comes back can change nothing.
"""

import enum
import itertools
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import cast, exists, func, not_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.journal import of_job
from buildsrht.logs import LogName
from buildsrht.models import (
    Duty,
    Fault,
    Job,
    JobStatus,
    KeptMachine,
    LostJob,
    Task,
    TaskStatus,
    Tree,
)
from buildsrht.services import tallies
from buildsrht.services.duties import JANITOR
from buildsrht.services.retries import Written, hand_back
from buildsrht.status import move_job, move_task
from buildsrht.storage import StorageError

log = logging.getLogger(__name__)


# A build host that has not ended a job so long after its deadline hangs.
OVERDUE = timedelta(seconds=60)
# Of one lap of the janitor, who has other things to do meanwhile.
MOST_SECONDS = 5.0
# A run that has heard that its job is not its own, or over, is gone by then.
LEAVING = timedelta(seconds=15)


@dataclass(frozen=True)
class Run:
    """One attempt at a job: all that a build host needs to know of it."""

    job_id: int
    attempt: int
    runner: str
    owner_id: int
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


def begin(backend: Backend, session: Session, job_id: int, runner: str) -> Run:
    """Make a queued job the runner's. Raises Conflict if it is not queued any more."""
    seconds = backend.config.worker.job_timeout
    move_job(
        session,
        job_id,
        JobStatus.RUNNING,
        cause=f"Taken by the build host {runner}.",
        runner=runner,
        attempt=Job.attempt + 1,
        started=func.now(),
        lease_expires=_lease_end(backend),
        deadline=func.now() + timedelta(seconds=seconds),
    )
    job = session.get_one(Job, job_id)
    return Run(
        job_id=job.id,
        attempt=job.attempt,
        runner=runner,
        owner_id=job.owner_id,
        owner=job.owner.name,
        manifest=job.manifest,
        image=job.image,
        arch=job.arch,
        secrets=job.secrets,
        task_ids={task.name: task.id for task in job.tasks},
        tree=session.get(Tree, job.tree_id) if job.tree_id is not None else None,
    )


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
    session: Session,
    run: Run,
    status: JobStatus,
    cause: str | None = None,
    fault: Fault | None = None,
) -> JobStatus:
    """End the job and return how it ended.

    A cancel that was accepted wins over any other end, so that its `{}` was never a lie. Raises
    Conflict when the job is no longer ours.
    """
    if fault is Fault.SERVICE:
        suspect_strays(session, run.job_id)
    try:
        not_cancelled = Job.cancel_requested.is_(None)
        end_job(session, run.job_id, status, run.is_ours, not_cancelled, cause=cause, fault=fault)
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


def end_abandoned(
    session: Session, job: Job, cause: str, status: JobStatus = JobStatus.FAILED
) -> None:
    """End a job that nobody runs any more, which is our fault. A cancel that was accepted is kept,
    as in `finish`."""
    suspect_strays(session, job.id)
    is_ours = Job.attempt == job.attempt
    if job.cancel_requested:
        end_job(session, job.id, JobStatus.CANCELLED, is_ours, cause=job.cancel_cause)
    else:
        end_job(session, job.id, status, is_ours, cause=cause, fault=Fault.SERVICE)


def suspect_strays(session: Session, job_id: int) -> None:
    """Have a janitor look for what the job's build host stored and has added no row for."""
    session.execute(insert(LostJob).values(job_id=job_id).on_conflict_do_nothing())


def log_names(session: Session, job_id: int) -> list[LogName]:
    """Every log of a job, the setup log first."""
    task_ids = session.scalars(
        select(Task.id).where(Task.job_id == job_id).order_by(Task.position)
    ).all()
    return [LogName(job_id, None), *(LogName(job_id, task_id) for task_id in task_ids)]


# --- what the janitor asks --------------------------------------------------------------------


def is_overstayed(backend: Backend, job_id: int, attempt: int) -> bool:
    """Whether this attempt's process should have been gone for some time, as others have ended the
    job, or have it done by another one. A machine that its owner was promised is frozen after the
    end, which may take long."""
    promised = exists().where(KeptMachine.job_id == job_id, KeptMachine.ended.is_(None))
    left = Job.updated < func.now() - LEAVING
    is_over = Job.status.in_(status for status in JobStatus if status.is_final) & not_(promised)
    is_anothers = (Job.attempt != attempt) | (Job.status == JobStatus.QUEUED)
    with backend.transaction() as session:
        found = select(left & (is_over | is_anothers)).where(Job.id == job_id)
        return bool(session.scalar(found))


def expire_leases(backend: Backend) -> list[int]:
    """End every job whose build host has not been heard of in time, or has not ended it in time, or
    have it begun again. Returns their ids.

    Each in a transaction of its own, and in no order, so that one that cannot be ended now holds up
    no other. While storage is slow or away, the rest comes later.
    """
    given_up = _lease_expired(backend) | _is_overdue()
    deadline = time.monotonic() + MOST_SECONDS
    with backend.transaction() as session:
        found = session.scalars(select(Job.id).where(given_up).order_by(func.random())).all()
    in_time = itertools.takewhile(lambda _: time.monotonic() < deadline, found)
    resolved = [job_id for job_id in in_time if _resolve_lost(backend, job_id)]
    if resolved:
        with backend.transaction() as session:
            tallies.add(session, tallies.LEASES_LOST, by=len(resolved))
    return resolved


def _lease_expired(backend: Backend) -> ColumnElement[bool]:
    """Where nobody heard the database for a while, hosts are given the time to be heard again."""
    lease = timedelta(seconds=backend.config.worker.lease)
    gap = exists().where(Duty.name == JANITOR, Duty.since > func.now() - lease)
    is_silent = (Job.status == JobStatus.RUNNING) & (Job.lease_expires < func.now())
    return is_silent & not_(gap)


def _is_overdue() -> ColumnElement[bool]:
    return (Job.status == JobStatus.RUNNING) & (Job.deadline < func.now() - OVERDUE)


def _resolve_lost(backend: Backend, job_id: int) -> bool:
    """End one job, or have it begun again; False when somebody else does, or it is alive after all.
    As everywhere, its logs are sealed before its status is final."""
    given_up = _lease_expired(backend) | _is_overdue()
    try:
        if _hand_back_lost(backend, job_id):
            return True
        with backend.transaction() as session:
            job = session.scalar(
                select(Job)
                .where(Job.id == job_id, given_up)
                .with_for_update(skip_locked=True, of=Job)
            )
            if job is None:
                return False
            is_overdue = session.scalar(select(Job.id).where(Job.id == job_id, _is_overdue()))
            cause = _not_ended(job) if is_overdue else _lost(job)
            status = JobStatus.TIMEOUT if is_overdue else JobStatus.FAILED
            sealed = _seal_lost_logs(backend, session, job, cause)
            end_abandoned(session, job, cause, status)
    except (OSError, RedisError, SQLAlchemyError, StorageError) as error:
        log.warning("its host was lost; not ended yet: %s", error, extra=of_job(job_id))
        return False
    for name in sealed:
        backend.logs.drop_live(name, job.attempt)
    return True


def _hand_back_lost(backend: Backend, job_id: int) -> bool:
    with backend.transaction() as session:
        expired = _lease_expired(backend) & not_(_is_overdue())
        job = session.scalar(select(Job).where(Job.id == job_id, expired))
    if job is None:
        return False
    lost = (Job.id == job.id) & (Job.attempt == job.attempt) & expired
    name = LogName(job.id, None)

    def written() -> Written:
        # Its host may still be there, and not know: what it sends from now on nobody sees.
        backend.logs.fence(name, job.attempt + 1)
        return b"".join(backend.logs.live_chunks(name)), backend.logs.live_marks(name)

    return hand_back(backend, lost, _lost(job), written, if_free=True)


def _lost(job: Job) -> str:
    return f"The build host {job.runner} was lost."


def _not_ended(job: Job) -> str:
    return f"The job ran into its time limit, and {job.runner} did not end it."


def _seal_lost_logs(backend: Backend, session: Session, job: Job, cause: str) -> list[LogName]:
    """Keep what Redis has of a lost host's logs, and say on the last one what happened."""
    names = log_names(session, job.id)
    # Its host may still be there, and not know: nobody shall be shown what is not kept.
    backend.logs.fence(names[0], job.attempt + 1)
    written = [name for name in names if backend.redis.exists(name.live_key)] or names[:1]
    said = f"\n{cause}\n".encode()
    for name in written:
        last_words = [said] if name == written[-1] else []
        data, marks = b"".join(backend.logs.live_chunks(name)), backend.logs.live_marks(name)
        if name.task_id is None:
            data, marks = backend.logs.since_first_attempt(name, data, marks)
        backend.logs.seal(session, name, job.attempt, iter([data, *last_words]), marks)
    return written
