"""Deliveries: taking one to attempt it, saying how that went, and looking at them afterwards.

They are written by buildsrht.outbox and buildsrht.events. An attempt begins with a claim, which is
a lease: nobody else takes the same delivery until it has ended, or until its courier has not been
heard of for that long. What fails is tried again, at growing distances, until the delivery expires.
All of that is in the database; the queue only says that there may be something to do. What it is,
is decided by who has the least of it going: one user's receivers that never answer keep nobody
else's waiting.
"""

import enum
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import case, delete, func, literal, select, update
from sqlalchemy.orm import Session, aliased, defer
from sqlalchemy.sql import ColumnElement

from buildsrht import outbox
from buildsrht.backend import Backend
from buildsrht.errors import Conflict, NotFound
from buildsrht.models import Delivery, DeliveryStatus, Job, JobGroup, JobStatus, User
from buildsrht.services import tallies
from buildsrht.services.webhooks import Occasion, occasion_of

# Longer than RQ lets an attempt live, see buildsrht.queue. No pause is as long as this exactly.
LEASE = timedelta(seconds=180)
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 3600
# How much is kept of what was sent, and of the answer.
BODY_CHARACTERS = BODY_BYTES = 65536
PAGE = 50
SWEPT_AT_ONCE = 1000


@dataclass(frozen=True)
class Errand:
    """A delivery that is ours to attempt, with all that it tells of.

    `jobs` are the job that has ended, or those of `group`. With an `occasion` it is a user's
    webhook that is told of an event, and the job is in the state that it was in then.
    """

    delivery: Delivery
    jobs: Sequence[Job]
    group: JobGroup | None = None
    occasion: Occasion | None = None

    @property
    def status(self) -> JobStatus:
        """How what it tells of ended: a group succeeds if all of its jobs do."""
        if self.group is None:
            return self.jobs[0].status
        succeeded = all(job.status == JobStatus.SUCCESS for job in self.jobs)
        return JobStatus.SUCCESS if succeeded else JobStatus.FAILED


class Verdict(enum.Enum):
    """What is to become of a delivery after an attempt."""

    DELIVERED = "the receiver has it"
    AGAIN = "it may work another time"
    NEVER = "it cannot work, however often it is tried"


@dataclass(frozen=True)
class Attempt:
    """One attempt: what was sent, what came back, and what it means."""

    verdict: Verdict
    error: str | None = None
    request_headers: dict[str, Any] | None = None
    request_body: str | None = None
    response_status: int | None = None
    response_headers: dict[str, Any] | None = None
    response_body: str | None = None


# --- what a courier does ----------------------------------------------------------------------


def claim_next(backend: Backend) -> Errand | None:
    """Make a delivery that is due ours for one attempt, or None when there is none."""
    while (delivery_id := _choose(backend)) is not None:
        # Otherwise another courier was faster, and there may be others.
        if errand := claim(backend, delivery_id):
            return errand
    return None


def _choose(backend: Backend) -> int | None:
    """One of an owner who has the fewest attempts going, whoever of them; of theirs, what is due
    for the longest."""
    going = aliased(Delivery)
    busy = (
        select(func.count())
        .where(
            going.owner_id == Delivery.owner_id,
            going.status == DeliveryStatus.WAITING,
            # As `claim` leaves it, and nothing else does.
            going.due == going.updated + LEASE,
            going.due > func.now(),
        )
        .correlate(Delivery)
        .scalar_subquery()
    )
    owner = (
        select(Delivery.owner_id)
        .where(_is_due())
        .group_by(Delivery.owner_id)
        .order_by(busy, func.random())
        .limit(1)
        .scalar_subquery()
    )
    with backend.transaction() as session:
        return session.scalar(
            select(Delivery.id)
            .where(_is_due(), Delivery.owner_id == owner)
            .order_by(Delivery.due, Delivery.id)
            .limit(1)
        )


def _is_due() -> ColumnElement[bool]:
    return (Delivery.status == DeliveryStatus.WAITING) & (Delivery.due <= func.now())


def claim(backend: Backend, delivery_id: int) -> Errand | None:
    """Make a delivery ours for one attempt, or None when it is not due or somebody else's."""
    with backend.transaction() as session:
        claimed = session.execute(
            update(Delivery)
            .where(Delivery.id == delivery_id, _is_due())
            .values(due=func.now() + LEASE, attempts=Delivery.attempts + 1, updated=func.now())
            .execution_options(synchronize_session=False)
            .returning(Delivery.id)
        )
        if claimed.first() is None:
            return None
        delivery = session.get_one(Delivery, delivery_id)
        if delivery.job_id is None:
            group = session.get_one(JobGroup, delivery.group_id)
            return Errand(delivery, list(group.jobs), group)
        job = session.get_one(Job, delivery.job_id)
        if delivery.webhook_id is None:
            return Errand(delivery, [job])
        return Errand(delivery, [job], occasion=occasion_of(session, delivery, job))


def keep_payload(backend: Backend, delivery: Delivery, payload: str) -> bool:
    """Have this sent at each attempt from now on, and when it is replayed. False if the claim is no
    longer ours: then nobody is to be sent anything."""
    with backend.transaction() as session:
        kept = session.execute(
            update(Delivery)
            .where(_is_ours(delivery))
            .values(payload=payload)
            .execution_options(synchronize_session=False)
            .returning(Delivery.id)
        )
        return kept.first() is not None


def settle(backend: Backend, delivery: Delivery, attempt: Attempt) -> None:
    """Record how an attempt went, and what follows. Nothing, if the claim is no longer ours."""
    with backend.transaction() as session:
        status = session.scalar(
            update(Delivery)
            .where(_is_ours(delivery))
            .values(
                updated=func.now(),
                error=_storable(attempt.error),
                request_headers=_storable(attempt.request_headers),
                request_body=_storable(_beginning(attempt.request_body)),
                response_status=attempt.response_status,
                response_headers=_storable(attempt.response_headers),
                response_body=_storable(attempt.response_body),
                **_after(delivery, attempt),
            )
            .returning(Delivery.status)
            .execution_options(synchronize_session=False)
        )
        if status:
            tallies.add(session, tallies.DELIVERIES, delivery.trigger["action"], status)


def _is_ours(delivery: Delivery) -> ColumnElement[bool]:
    """True of the row while the claim by which we have it lasts."""
    return (
        (Delivery.id == delivery.id)
        & (Delivery.status == DeliveryStatus.WAITING)
        & (Delivery.attempts == delivery.attempts)
    )


def _after(delivery: Delivery, attempt: Attempt) -> dict[str, Any]:
    if attempt.verdict == Verdict.DELIVERED:
        return {"status": DeliveryStatus.DELIVERED}
    if attempt.verdict == Verdict.NEVER:
        return {"status": DeliveryStatus.ABANDONED}
    # The last attempt is at the very end.
    again = func.least(func.now() + pause(delivery.attempts), Delivery.expires)
    is_over = Delivery.expires <= func.now()
    return {
        "status": case(
            (is_over, literal(DeliveryStatus.ABANDONED)), else_=literal(DeliveryStatus.WAITING)
        ),
        "due": again,
    }


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed: doubling, and never quite the same, so
    that those who failed together do not come back together."""
    doubled = FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 16)
    return timedelta(seconds=min(doubled, LONGEST_PAUSE_SECONDS) * random.uniform(0.8, 1.0))


def _beginning(body: str | None) -> str | None:
    """What is said of a group may have megabytes, and is sent again and again."""
    return body[:BODY_CHARACTERS] if body else body


def _storable(value: Any) -> Any:
    """PostgreSQL has no text with a NUL, and a stranger's answer may have one."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


# --- what the janitor asks --------------------------------------------------------------------


def finish_groups(backend: Backend) -> list[int]:
    """Finish every group that is over and whose finisher did not get to it. Returns their ids."""
    with backend.transaction() as session:
        over = session.scalars(
            select(JobGroup.id).where(outbox.is_to_be_finished()).limit(SWEPT_AT_ONCE)
        ).all()
    return [group_id for group_id in over if _finish_group(backend, group_id)]


def _finish_group(backend: Backend, group_id: int) -> bool:
    with backend.transaction() as session:
        return outbox.finish_group(session, group_id)


def requeue_due(backend: Backend) -> list[int]:
    """Send what is due and not in the queue: attempts that are to be repeated, and what got lost.

    One that is in the queue twice all the same is attempted once: the claim decides.
    """
    with backend.transaction() as session:
        due = session.scalars(
            select(Delivery.id).where(_is_due()).order_by(Delivery.due).limit(SWEPT_AT_ONCE)
        ).all()
    return backend.deliveries.enqueue_missing(due)


def remove_old(backend: Backend) -> None:
    """Forget what was settled long ago; what was replayed, when its replays are forgotten."""
    replay = aliased(Delivery)
    replays = select(replay.id).where(replay.replay_of == Delivery.id)
    # By their ids: these few, and not every row each time.
    first = (
        select(Delivery.id, Delivery.updated)
        .where(Delivery.status != DeliveryStatus.WAITING, ~replays.exists())
        .order_by(Delivery.id)
        .limit(SWEPT_AT_ONCE)
        .subquery()
    )
    lifetime = timedelta(seconds=backend.config.courier.record_lifetime)
    old = select(first.c.id).where(first.c.updated < func.now() - lifetime)
    with backend.transaction() as session:
        session.execute(
            delete(Delivery)
            .where(Delivery.id.in_(old))
            .execution_options(synchronize_session=False)
        )


# --- what their owner may do ------------------------------------------------------------------


def list_deliveries(
    session: Session,
    owner: User,
    job_id: int | None = None,
    start: int | None = None,
    count: int = PAGE,
) -> Sequence[Delivery]:
    """The owner's deliveries, or those of one of their jobs, newest first, from id `start`
    downwards."""
    # A payload may have a megabyte.
    wanted = select(Delivery).options(defer(Delivery.payload)).where(Delivery.owner_id == owner.id)
    if job_id is not None:
        wanted = wanted.where(Delivery.job_id == job_id)
    if start is not None:
        wanted = wanted.where(Delivery.id <= start)
    return session.scalars(wanted.order_by(Delivery.id.desc()).limit(count)).all()


def receiver_of(delivery: Delivery) -> str:
    """Whom it goes to, as it may be shown."""
    return shown_url(str(delivery.trigger.get("url") or delivery.trigger.get("to")))


def shown_url(url: str) -> str:
    """Without the name and password that an address may have, which are for nobody to see."""
    return re.sub(r"//[^/?#]*@", "//***@", url)


def require_delivery(session: Session, delivery_id: int, viewer: User) -> Delivery:
    """A delivery of the viewer's; for everybody else there is none, administrators included: what
    a receiver answers is for whoever chose the receiver."""
    delivery = session.get(Delivery, delivery_id) if delivery_id < 2**31 else None
    if delivery is None or delivery.owner_id != viewer.id:
        raise NotFound(f"there is no delivery {delivery_id}")
    return delivery


def owner_of(session: Session, delivery_id: int) -> User:
    """Whose it is, for an operator, who acts in the owner's place."""
    owner = session.scalar(select(User).join(Delivery).where(Delivery.id == delivery_id))
    if owner is None:
        raise NotFound(f"there is no delivery {delivery_id}")
    return owner


def replay(backend: Backend, delivery_id: int, viewer: User) -> int:
    """Deliver once more what was delivered or abandoned. Returns the id of the new delivery."""
    with backend.transaction() as session:
        before = require_delivery(session, delivery_id, viewer)
        if before.status == DeliveryStatus.WAITING:
            raise Conflict(f"delivery {delivery_id} is still waiting, and tried by itself")
        return outbox.repeat(session, before)
