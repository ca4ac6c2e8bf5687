"""What is owed when a job or a group is over: the deliveries that its triggers ask for. Those that
users' webhooks are owed are written by buildsrht.events.

A job's are written in the transaction that ends it, by the one place that moves jobs
(buildsrht.status), and are sent to the queue when that has committed, by the one place that
commits (buildsrht.backend). So a job cannot end and be forgotten. What is written and was not
sent, since a process was killed in between or Redis was away, the janitor sends.

A group is over when the last of its jobs is. Jobs end in transactions of their own that see nothing
of each other, so whoever ended one looks after its commit, in another transaction: of two that
look at once, one finds the group unfinished and finishes it. That one locks the group and
no job, so it waits for nobody who waits for it.

Knows nothing of how anything is delivered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.models import Delivery, DeliveryStatus, Job, JobGroup, JobStatus

_NAME = "outbox"


@dataclass
class Outbox:
    """What one transaction owes, for when it has committed."""

    patience_seconds: int
    delivery_ids: list[int] = field(default_factory=list)
    # Of the jobs that have ended: these may be over with them.
    group_ids: set[int] = field(default_factory=set)

    @property
    def session_info(self) -> dict[str, "Outbox"]:
        """What makes this the outbox of a session."""
        return {_NAME: self}


def of(session: Session) -> Outbox:
    """What the transaction of this session owes so far."""
    outbox: Outbox = session.info[_NAME]
    return outbox


def note_end_of_job(session: Session, job_id: int, status: JobStatus) -> None:
    """Write down what is owed as the job has just been moved to its final status."""
    job = session.execute(
        select(Job.owner_id, Job.group_id, Job.triggers).where(Job.id == job_id)
    ).one()
    succeeded = status == JobStatus.SUCCESS
    _write(session, job.triggers, succeeded, owner_id=job.owner_id, job_id=job_id)
    if job.group_id is not None:
        of(session).group_ids.add(job.group_id)


def is_to_be_finished() -> ColumnElement[bool]:
    """True of a group's row when its jobs are all over, and nobody has finished it."""
    members = select(Job.id).where(Job.group_id == JobGroup.id)
    unfinished = members.where(Job.finished.is_(None))
    return JobGroup.finished.is_(None) & members.exists() & ~unfinished.exists()


def finish_group(session: Session, group_id: int) -> bool:
    """Finish a group whose jobs are all over, and write down what is owed for it. False if they
    are not, or if somebody has done so before."""
    group = session.execute(
        update(JobGroup)
        .where(JobGroup.id == group_id, is_to_be_finished())
        .values(finished=func.now(), updated=func.now())
        .execution_options(synchronize_session=False)
        .returning(JobGroup.owner_id, JobGroup.triggers)
    ).one_or_none()
    if group is None:
        return False
    failed = select(Job.id).where(Job.group_id == group_id, Job.status != JobStatus.SUCCESS)
    succeeded = not session.scalar(select(failed.exists()))
    _write(session, group.triggers, succeeded, owner_id=group.owner_id, group_id=group_id)
    return True


def repeat(session: Session, delivery: Delivery) -> int:
    """Owe again what was delivered or abandoned before. Returns the id of the new delivery."""
    return _owe(
        session,
        owner_id=delivery.owner_id,
        job_id=delivery.job_id,
        group_id=delivery.group_id,
        position=delivery.position,
        trigger=delivery.trigger,
        replay_of=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        payload=delivery.payload,
    )


def _write(
    session: Session,
    triggers: Sequence[dict[str, Any]],
    succeeded: bool,
    **subject: int,
) -> None:
    wanted = ("always", "success" if succeeded else "failure")
    for position, trigger in enumerate(triggers):
        if trigger["condition"] in wanted:
            _owe(session, position=position, trigger=trigger, **subject)


def _owe(session: Session, **columns: Any) -> int:
    outbox = of(session)
    expires = func.now() + timedelta(seconds=outbox.patience_seconds)
    delivery_id = session.scalars(
        insert(Delivery)
        .values(status=DeliveryStatus.WAITING, expires=expires, **columns)
        .returning(Delivery.id)
    ).one()
    outbox.delivery_ids.append(delivery_id)
    return delivery_id
