"""What happens to jobs, written down in the transaction in which it happens.

Every event is a row, and so is whatever users' webhooks are owed for it. Each submission and each
move of a task pays for that, so it is one statement that PostgreSQL plans in no time, and for those
who have a webhook another. Like the rest of the outbox, deliveries are sent to the queue when the
transaction has committed (buildsrht.backend).

Whoever records an event of a job holds that job's row. So its events become visible in the order of
their ids, and who has seen one has missed none before it (buildsrht.services.stream).

Knows nothing of how anything is delivered, nor of what a webhook asks for.
"""

from datetime import timedelta
from typing import Protocol

from sqlalchemy import BigInteger, Integer, Interval, any_, bindparam, func, insert, literal, select
from sqlalchemy.orm import Session

from buildsrht import outbox
from buildsrht.models import (
    Delivery,
    DeliveryStatus,
    EventKind,
    JobEvent,
    JobStatus,
    TaskStatus,
    Webhook,
)

JOB_CREATED = "JOB_CREATED"
JOB_UPDATED = "JOB_UPDATED"
# What a webhook can be for.
WEBHOOK_EVENTS = (JOB_CREATED, JOB_UPDATED)


class JobNow(Protocol):
    """A job as it is from now on: its row, or these columns of it."""

    @property
    def id(self) -> int: ...
    @property
    def owner_id(self) -> int: ...
    @property
    def status(self) -> JobStatus: ...
    @property
    def attempt(self) -> int: ...


def webhook_event(kind: EventKind) -> str:
    """What webhooks call an event of this kind."""
    return JOB_CREATED if kind == EventKind.CREATED else JOB_UPDATED


_IS_FOR_IT = (Webhook.owner_id == bindparam("owner_id")) & (
    bindparam("event") == any_(Webhook.events)
)
EVENT_COLUMNS = ("job_id", "status", "attempt", "kind", "task_id", "task_status", "cause")
# Both are built once: to put them together takes as long as PostgreSQL does.
INSERT_EVENT = (
    insert(JobEvent)
    .values(
        {
            **{name: bindparam(name) for name in EVENT_COLUMNS},
            # Not when the transaction began, which may have waited since: who counts events takes
            # them in the order of their ids (buildsrht.services.tallies).
            "created": func.clock_timestamp(),
        }
    )
    .returning(JobEvent.id, select(Webhook.id).where(_IS_FOR_IT).exists().label("is_wanted"))
)
INSERT_DELIVERIES = (
    insert(Delivery)
    .from_select(
        [
            *("owner_id", "job_id", "position", "trigger", "status", "attempts", "expires"),
            *("webhook_id", "event_id"),
        ],
        select(
            Webhook.owner_id,
            bindparam("job_id", type_=Integer),
            literal(0),
            func.jsonb_build_object("action", "webhook", "url", Webhook.url),
            literal(DeliveryStatus.WAITING),
            literal(0),
            func.now() + bindparam("patience", type_=Interval),
            Webhook.id,
            bindparam("event_id", type_=BigInteger),
        )
        .where(_IS_FOR_IT)
        # One that is being deleted is owed nothing, and holds up nobody's job.
        .with_for_update(of=Webhook, read=True, key_share=True, skip_locked=True),
    )
    .returning(Delivery.id)
)


def record(
    session: Session,
    job: JobNow,
    kind: EventKind,
    *,
    task_id: int | None = None,
    task_status: TaskStatus | None = None,
    cause: str | None = None,
) -> None:
    """Write down what has just happened to a job."""
    event = {
        "job_id": job.id,
        "owner_id": job.owner_id,
        "status": job.status,
        "attempt": job.attempt,
        "kind": kind,
        "task_id": task_id,
        "task_status": task_status,
        "cause": cause,
        "event": webhook_event(kind),
    }
    # Past the ORM, which would take as long again.
    connection = session.connection()
    stored = connection.execute(INSERT_EVENT, event).one()
    if stored.is_wanted:
        owed = outbox.of(session)
        told = {
            "job_id": job.id,
            "owner_id": job.owner_id,
            "event": event["event"],
            "event_id": stored.id,
            "patience": timedelta(seconds=owed.patience_seconds),
        }
        owed.delivery_ids += connection.scalars(INSERT_DELIVERIES, told).all()
