"""How many there are of what, right now. What it costs grows with what is unfinished, and not with
all that ever was."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.models import Delivery, DeliveryStatus, Job, JobStatus, Push, PushStatus, Runner
from buildsrht.queue import SILENCE, Slots
from buildsrht.services.overview import slots_now


class Census(NamedTuple):
    """`queued` is by image and processor, `hosts` by state and whether they were heard of lately;
    `slots` is None while nobody can say."""

    running: int
    queued: Mapping[tuple[str, str], int]
    oldest_seconds: float
    hosts: Mapping[tuple[str, bool], int]
    slots: Slots | None
    deliveries: int
    pushes: int


def take(backend: Backend) -> Census:
    with backend.transaction() as session:
        running = select(func.count()).where(Job.status == JobStatus.RUNNING)
        oldest = func.extract("epoch", func.now() - func.min(Job.queued))
        return Census(
            running=session.scalar(running) or 0,
            queued=_queued(session),
            oldest_seconds=float(
                session.scalar(select(oldest).where(Job.status == JobStatus.QUEUED)) or 0
            ),
            hosts=_hosts(session),
            slots=slots_now(backend),
            deliveries=_count(session, Delivery.status == DeliveryStatus.WAITING),
            pushes=_count(session, Push.status == PushStatus.WAITING),
        )


def _queued(session: Session) -> dict[tuple[str, str], int]:
    asked = (
        select(Job.image, Job.arch, func.count())
        .where(Job.status == JobStatus.QUEUED)
        .group_by(Job.image, Job.arch)
    )
    return {(image, arch): count for image, arch, count in session.execute(asked)}


def _hosts(session: Session) -> dict[tuple[str, bool], int]:
    is_heard = (Runner.seen > func.now() - SILENCE).label("is_heard")
    asked = select(Runner.state, is_heard, func.count()).group_by(Runner.state, is_heard)
    return {(state, heard): count for state, heard, count in session.execute(asked)}


def _count(session: Session, condition: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).where(condition)) or 0
