"""Jobs that are deleted: with all that is known of them, and the bytes that they left in storage.

The row goes first, and with it whatever refers to it: from then on nobody is given anything of the
job. What is in storage the janitor deletes, whom rows of `erasure` tell of it: they are written in
the same transaction, and go when the bytes are gone, so that no crash leaves bytes that nobody
knows of. What is removed of jobs that stay (buildsrht.services.retention) goes the same way. A
machine that was kept ends when its build host finds that it has no job any more.
"""

import itertools
import logging
import time
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import Conflict, NotFound
from buildsrht.models import Erasure, Job, JobGroup, JobStatus, User
from buildsrht.services import runs, trees
from buildsrht.services.jobs import require_own_job
from buildsrht.storage import StorageError

log = logging.getLogger(__name__)

# What storage has of a job is below these.
KINDS = ("logs", "artifacts")
# Of one lap of the janitor, who has lost jobs to end meanwhile.
MOST_SECONDS = 5.0
MOST_AT_ONCE = 1000


def delete_job(backend: Backend, viewer: User, job_id: int) -> None:
    """Delete a job that is over, for ever. Raises Conflict while it is not."""
    with backend.transaction() as session:
        require_own_job(session, job_id, viewer)
        names = runs.log_names(session, job_id)
        _delete(session, job_id)
        prefixes = [{"prefix": prefix} for prefix in _prefixes(job_id)]
        session.execute(insert(Erasure), prefixes)
    for name in names:
        backend.logs.drop_live(name)


def _delete(session: Session, job_id: int) -> None:
    """The job, and its group and its tree if they were no other job's."""
    # Whoever keeps something of it right now is waited for.
    job = session.execute(
        select(Job.status, Job.group_id, Job.tree_id).where(Job.id == job_id).with_for_update()
    ).one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    if not job.status.is_final:
        raise Conflict(_why_not(job_id, job.status))
    # Before the job goes: of two that delete the last two of a group, the second finds none left.
    session.execute(select(JobGroup.id).where(JobGroup.id == job.group_id).with_for_update())
    _execute(session, delete(Job).where(Job.id == job_id))
    others = select(Job.id).where(Job.group_id == job.group_id)
    _execute(session, delete(JobGroup).where(JobGroup.id == job.group_id, ~others.exists()))
    if job.tree_id is not None:
        trees.let_go(session, job.tree_id)


def _why_not(job_id: int, status: JobStatus) -> str:
    return f"job {job_id} is {status}: cancel it first, and delete it when it is over"


def _execute(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))


# --- what the janitor does ----------------------------------------------------------------------


def erase_deleted(backend: Backend) -> int:
    """Delete from storage what deleted jobs left there. Returns how many rows said so.

    Each by itself, and in no order, so that what cannot be deleted now keeps nothing else. Storage
    that is slow or away takes no more of the janitor's time than `MOST_SECONDS` and one row. Done
    twice, by two janitors or after a crash, it is the same as once.
    """
    deadline = time.monotonic() + MOST_SECONDS
    with backend.transaction() as session:
        some = select(Erasure).order_by(func.random()).limit(MOST_AT_ONCE)
        rows = session.scalars(some).all()
    in_time = itertools.takewhile(lambda _: time.monotonic() < deadline, rows)
    return sum(_erase(backend, row) for row in in_time)


def _erase(backend: Backend, row: Erasure) -> bool:
    try:
        _delete_bytes(backend, row.prefix)
    except (OSError, StorageError) as error:
        log.warning("%s will be deleted later: %s", row.prefix, error)
        return False
    with backend.transaction() as session:
        _execute(session, delete(Erasure).where(Erasure.id == row.id))
    return True


def erase_strays(backend: Backend, job_id: int) -> None:
    """Delete what a build host stored of a job that had been deleted before."""
    for prefix in _prefixes(job_id):
        _delete_bytes(backend, prefix)


def _delete_bytes(backend: Backend, prefix: str) -> None:
    if not prefix.endswith("/"):
        backend.storage.delete(prefix)
        return
    backend.storage.discard_unfinished(prefix)
    for key in backend.storage.keys(prefix):
        backend.storage.delete(key)


def _prefixes(job_id: int) -> list[str]:
    return [f"{kind}/{job_id}/" for kind in KINDS]
