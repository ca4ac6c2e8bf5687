"""What happens to jobs, written down in the transaction in which it happens.

Every event is a row, and so is whatever users' webhooks are owed for it. One statement does both,
since each submission and each move of a task pays for it. Like the rest of the outbox, deliveries
are sent to the queue when the transaction has committed (buildsrht.backend).

Knows nothing of how anything is delivered, nor of what a webhook asks for.
"""

from datetime import timedelta

from sqlalchemy import any_, func, insert, literal, select
from sqlalchemy.orm import Session

from buildsrht import outbox
from buildsrht.models import (
    Delivery,
    DeliveryStatus,
    EventKind,
    Job,
    JobEvent,
    TaskStatus,
    Webhook,
)

JOB_CREATED = "JOB_CREATED"
JOB_UPDATED = "JOB_UPDATED"
# What a webhook can be for.
WEBHOOK_EVENTS = (JOB_CREATED, JOB_UPDATED)


def webhook_event(kind: EventKind) -> str:
    """What webhooks call an event of this kind."""
    return JOB_CREATED if kind == EventKind.CREATED else JOB_UPDATED


def record(
    session: Session,
    job_id: int,
    kind: EventKind,
    *,
    task_id: int | None = None,
    task_status: TaskStatus | None = None,
    cause: str | None = None,
) -> None:
    """Write down what has just happened to a job, whose row is already as it is from now on."""
    columns = ["job_id", "status", "attempt", "kind", "task_id", "task_status", "cause"]
    said = [literal(value) for value in (kind, task_id, task_status, cause)]
    now = select(Job.id, Job.status, Job.attempt, *said).where(Job.id == job_id)
    event = insert(JobEvent).from_select(columns, now).returning(JobEvent.id).cte("event")
    owed = outbox.of(session)
    expires = func.now() + timedelta(seconds=owed.patience_seconds)
    wanted = (
        select(
            Webhook.owner_id,
            literal(job_id),
            literal(0),
            func.jsonb_build_object("action", "webhook", "url", Webhook.url),
            literal(DeliveryStatus.WAITING),
            literal(0),
            expires,
            Webhook.id,
            event.c.id,
        )
        .select_from(Webhook)
        .join(event, literal(True))
        .where(
            Webhook.owner_id == select(Job.owner_id).where(Job.id == job_id).scalar_subquery(),
            literal(webhook_event(kind)) == any_(Webhook.events),
        )
    )
    columns = ["owner_id", "job_id", "position", "trigger", "status", "attempts", "expires"]
    deliver = insert(Delivery).from_select([*columns, "webhook_id", "event_id"], wanted)
    owed.delivery_ids += session.scalars(deliver.returning(Delivery.id)).all()
