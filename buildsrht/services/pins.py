"""Jobs whose artifacts and logs are kept for ever, until their owners think otherwise.

An artifact of such a job expires at the end of time, so nobody who reads `expires` has to know of
pins. How much one user may pin is limited: what is pinned no operator's rule removes.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, literal, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.config import size_text
from buildsrht.errors import Conflict
from buildsrht.models import Artifact, Job, Log, User
from buildsrht.services.jobs import require_own_job
from buildsrht.services.users import lock_user

END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
# Who unpins by mistake has so long to notice.
GRACE = timedelta(days=1)


def pin(backend: Backend, job_id: int, viewer: User) -> Job:
    """Keep what the job has left. Raises Conflict while it is not over, and if its owner has pinned
    too much. Done twice it is the same."""
    with backend.transaction() as session:
        job = require_own_job(session, job_id, viewer)
        # Two pins at once would each see that there is room.
        lock_user(session, job.owner)
        if not job.status.is_final:
            raise Conflict(f"job {job_id} is {job.status}: pin it when it is over")
        if not job.pinned:
            _require_room(backend, session, job)
            job.pinned = True
            _let_expire(session, job, literal(END_OF_TIME))
    return job


def unpin(backend: Backend, job_id: int, viewer: User) -> Job:
    """Keep it no longer than others: its artifacts for a day more at least."""
    lifetime = timedelta(seconds=backend.config.storage.artifact_lifetime)
    with backend.transaction() as session:
        job = require_own_job(session, job_id, viewer)
        if job.pinned:
            job.pinned = False
            _let_expire(
                session, job, func.greatest(Artifact.created + lifetime, func.now() + GRACE)
            )
    return job


def _require_room(backend: Backend, session: Session, job: Job) -> None:
    """What was unpinned and is there only for its day of grace counts as well: who pinned in turn
    would else keep all there is."""
    most = backend.config.limits.pinned
    lifetime = timedelta(seconds=backend.config.storage.artifact_lifetime)
    is_pinned = Job.pinned | (Job.id == job.id)
    is_in_grace = Artifact.created + lifetime < func.now()
    held = _bytes_of(session, Artifact, job, Artifact.deleted.is_(None), is_pinned | is_in_grace)
    held += _bytes_of(session, Log, job, Log.removed.is_(None), is_pinned)
    if held > most:
        raise Conflict(
            f"with job {job.id} {job.owner.canonical_name} would have pinned {size_text(held)}, "
            f"and {size_text(most)} is the most for one user: unpin another job before"
        )


def _bytes_of(
    session: Session, row: type[Artifact] | type[Log], job: Job, *which: ColumnElement[bool]
) -> int:
    """What such rows of the job's owner have together."""
    size = select(func.coalesce(func.sum(row.size), 0)).join(Job, Job.id == row.job_id)
    return session.scalar(size.where(Job.owner_id == job.owner_id, *which)) or 0


def _let_expire(session: Session, job: Job, when: ColumnElement[datetime]) -> None:
    changed = update(Artifact).where(
        Artifact.job_id == job.id, Artifact.deleted.is_(None), Artifact.expires > func.now()
    )
    session.execute(changed.values(expires=when).execution_options(synchronize_session=False))
