"""Jobs that nobody will ever run: they wait for an image or for labels that no build host has.

Somebody may bring such a host, so they wait for `[limits] wait`, and are told why. Then they fail,
by the service's fault, instead of waiting for ever. While no host is there at all that is an
outage, and nothing is known of what hosts have: nobody's job ends for that.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session, defer

from buildsrht.backend import Backend
from buildsrht.config import duration_text
from buildsrht.errors import Conflict
from buildsrht.journal import of_job
from buildsrht.models import Fault, Job, JobStatus
from buildsrht.queue import Route
from buildsrht.services import runners
from buildsrht.services.dispatch import withdraw
from buildsrht.status import move_job

log = logging.getLogger(__name__)

MOST_AT_ONCE = 100


def end_stranded(backend: Backend) -> None:
    """End those whose time is over, some at a time."""
    with backend.transaction() as session:
        stranded = _stranded(session, backend.config.limits.wait)
    for job in stranded:
        _end(backend, job)


def _stranded(session: Session, seconds: int) -> Sequence[Job]:
    """Some of them. A label is whatever somebody writes, so there may be as many routes as jobs:
    these are read twice, and not once for each."""
    if not (offers := list(runners.offers(session))):
        return []
    since = func.now() - timedelta(seconds=seconds)
    waits_long = (Job.status == JobStatus.QUEUED) & (Job.queued < since)
    asked = select(Job.image, Job.arch, Job.labels).where(waits_long).distinct()
    routes = [Route(image, arch, tuple(labels)) for image, arch, labels in session.execute(asked)]
    unfit = [route for route in routes if not any(offer.fits(route) for offer in offers)]
    wanted = [(route.image, route.arch, [*route.labels]) for route in unfit[:MOST_AT_ONCE]]
    is_of_one = tuple_(Job.image, Job.arch, Job.labels).in_(wanted)
    found = select(Job).where(waits_long, is_of_one).order_by(Job.queued, Job.id)
    jobs = found.options(defer(Job.manifest, raiseload=True)).limit(MOST_AT_ONCE)
    return session.scalars(jobs).all()


def _end(backend: Backend, job: Job) -> None:
    cause = f"No build host could run it within {duration_text(backend.config.limits.wait)}."
    try:
        with backend.transaction() as session:
            move_job(
                session,
                job.id,
                JobStatus.FAILED,
                (Job.status == JobStatus.QUEUED) & (Job.queued == job.queued),
                cause=cause,
                fault=Fault.SERVICE,
            )
    except Conflict:
        # Somebody was faster: it was cancelled, or a host took it after all.
        return
    log.warning("%s", cause, extra=of_job(job.id))
    withdraw(backend, job)
