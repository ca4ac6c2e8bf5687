"""The states of jobs and tasks, what may follow what, and the one place that moves them.

        execute=false        start            claimed
    job:   pending ───────▶ queued ───────▶ running ───▶ success │ failed │ timeout │ cancelled
              │                │ ▲ its build   │
              │                │ └─ host lost ─┘
              ├──────────────┼── cancel ──▶ cancelled
                             └── no build host can run it ──▶ failed

    task:  pending ───▶ running ───▶ success │ failed
              └── complete-build ──▶ skipped

Every move is one conditional UPDATE, so cancel, timeout, failure and success may race: the first
that commits stands, and a final state never changes. Nothing else assigns a status.

With each move goes, in the same transaction, that it happened (buildsrht.events), and with a job's
end what its triggers ask for (buildsrht.outbox).
"""

from typing import Any

from sqlalchemy import func, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht import events
from buildsrht.errors import Conflict
from buildsrht.models import EventKind, Job, JobStatus, Task, TaskStatus
from buildsrht.outbox import note_end_of_job

FINAL = frozenset(status for status in JobStatus if status.is_final)

JOB_FOLLOWS = {
    JobStatus.PENDING: {JobStatus.QUEUED, JobStatus.CANCELLED},
    JobStatus.QUEUED: {JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.FAILED},
    JobStatus.RUNNING: FINAL,
}

TASK_FOLLOWS = {
    TaskStatus.PENDING: {TaskStatus.RUNNING, TaskStatus.SKIPPED},
    TaskStatus.RUNNING: {TaskStatus.SUCCESS, TaskStatus.FAILED},
}


def move_job(
    session: Session,
    job_id: int,
    to: JobStatus,
    *only_if: ColumnElement[bool],
    cause: str | None = None,
    **changes: Any,
) -> None:
    """Move a job to `to`, changing its other columns with it, or raise Conflict.

    `only_if` narrows the condition, for instance to one runner's lease. Conflict means that the
    job was in no state that `to` may follow, or that `only_if` did not hold: nothing was changed.
    `cause` is a sentence for the job's owner, where the move does not go without saying.
    """
    if to.is_final:
        changes["finished"] = func.now()
    before = Job.status.in_(_before(JOB_FOLLOWS, to))
    _move_job(session, job_id, to, before, *only_if, cause=cause, **changes)
    if to.is_final:
        note_end_of_job(session, job_id, to)


def queue_again(
    session: Session, job_id: int, *only_if: ColumnElement[bool], cause: str, **changes: Any
) -> None:
    """Move a job that runs back into the queue, with the same promises. Whoever does so knows that
    nobody runs it any more."""
    runs = Job.status == JobStatus.RUNNING
    _move_job(session, job_id, JobStatus.QUEUED, runs, *only_if, cause=cause, **changes)


def _move_job(
    session: Session,
    job_id: int,
    to: JobStatus,
    *only_if: ColumnElement[bool],
    cause: str | None,
    **changes: Any,
) -> None:
    moved = session.execute(
        update(Job)
        .where(Job.id == job_id, *only_if)
        .values(status=to, updated=func.now(), **changes)
        .execution_options(synchronize_session=False)
        .returning(Job.id, Job.owner_id, Job.status, Job.attempt)
    ).first()
    if moved is None:
        raise Conflict(f"job {job_id} cannot become {to} now")
    events.record(session, moved, EventKind.STATUS, cause=cause)


def move_task(session: Session, task_id: int, to: TaskStatus) -> None:
    """Move a task to `to`, or raise Conflict, with the same promises.

    The caller holds the job's row, or else what happens to the job could be told in another order
    than it is seen in.
    """
    moved = session.execute(
        update(Task)
        .where(Task.id == task_id, Task.status.in_(_before(TASK_FOLLOWS, to)))
        .where(Task.job_id == Job.id)
        .values(status=to, updated=func.now())
        .execution_options(synchronize_session=False)
        .returning(Job.id, Job.owner_id, Job.status, Job.attempt)
    ).first()
    if moved is None:
        raise Conflict(f"task {task_id} cannot become {to} now")
    events.record(session, moved, EventKind.TASK, task_id=task_id, task_status=to)


def _before(follows: dict[Any, Any], to: Any) -> list[Any]:
    return [status for status, after in follows.items() if to in after]
