"""What storage has of a job and no row names: its build host stored it, or began to, and did not
live to add the row.

Whoever ends a job for a host that was lost says so in the same transaction
(`buildsrht.services.runs.suspect_strays`). A janitor looks until storage has answered.
"""

import itertools
import logging
import time

from sqlalchemy import delete, func, select

from buildsrht.backend import Backend
from buildsrht.logs import Sealed
from buildsrht.models import Artifact, Job, Log, LostJob
from buildsrht.services.artifacts import storage_key
from buildsrht.storage import StorageError

log = logging.getLogger(__name__)

# Of one lap of the janitor, who has lost jobs to end meanwhile.
MOST_SECONDS = 5.0
MOST_AT_ONCE = 1000


def discard_strays(backend: Backend) -> None:
    """Remove them, of jobs that are over: while one runs, or is begun again, its host adds to what
    is there. In no order, so that what cannot be removed now keeps nothing else."""
    deadline = time.monotonic() + MOST_SECONDS
    is_over = Job.finished.is_not(None)
    asked = select(LostJob.job_id).join(Job, Job.id == LostJob.job_id).where(is_over)
    with backend.transaction() as session:
        found = session.scalars(asked.order_by(func.random()).limit(MOST_AT_ONCE)).all()
    for job_id in itertools.takewhile(lambda _: time.monotonic() < deadline, found):
        _try_to_discard(backend, job_id)


def _try_to_discard(backend: Backend, job_id: int) -> None:
    try:
        _discard(backend, job_id)
    except (OSError, StorageError) as error:
        log.warning("what job %d left will be removed later: %s", job_id, error)
        return
    with backend.transaction() as session:
        session.execute(delete(LostJob).where(LostJob.job_id == job_id))


def _discard(backend: Backend, job_id: int) -> None:
    with backend.transaction() as session:
        artifacts = session.scalars(select(Artifact).where(Artifact.job_id == job_id)).all()
        logs = session.scalars(select(Log).where(Log.job_id == job_id)).all()
    known = {*map(storage_key, artifacts), *(key for row in logs for key in Sealed.of(row))}
    for prefix in (f"artifacts/{job_id}/", f"logs/{job_id}/"):
        backend.storage.discard_unfinished(prefix)
        for key in set(backend.storage.keys(prefix)) - known:
            backend.storage.delete(key)
