"""A job that was lost before its first task is queued again, with what its log has so far.

Lost is a job whose run died or was given up, or could not go on through no fault of the build. Once
a task has begun it is not begun again by itself: it may have had effects outside.

What was written is kept in storage for the next attempt, whose log begins with it. So no reader
sees less than before, on whatever host that attempt is.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from redis.exceptions import RedisError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.journal import of_job
from buildsrht.logs import LogName
from buildsrht.models import Job, Log, TaskStatus, Token
from buildsrht.status import queue_again
from buildsrht.unhurried import unhurried

log = logging.getLogger(__name__)

# A log and its marks.
Written = tuple[bytes, bytes]


def hand_back(
    backend: Backend,
    lost: ColumnElement[bool],
    cause: str,
    written: Callable[[], Written],
    *,
    is_said: bool = False,
    if_free: bool = False,
) -> bool:
    """Queue the job again for which `lost` holds. False, and nothing was changed, if there is none,
    or if it is not to be begun again: a task of it has begun, its log is sealed, it is to be
    cancelled, or it was begun as often as it may be.

    `written` is asked for the setup log while nobody else can move the job; with `is_said` that has
    the cause already. With `if_free` a job that somebody is changing right now is not waited for.
    """
    most = backend.config.worker.attempts
    with backend.transaction() as session:
        job = session.scalar(select(Job).where(lost).with_for_update(of=Job, skip_locked=if_free))
        if job is None or job.attempt >= most or not _is_untouched(session, job):
            return False
        name = LogName(job.id, None)
        data, marks = backend.logs.since_first_attempt(name, *written())
        why = "" if is_said else f"\n{cause}\n"
        words = f"{why}The job is begun again: attempt {job.attempt + 1} of {most}.\n".encode()
        with unhurried(session):
            backend.logs.keep_earlier(name, data + words, marks)
        # What it was given is worthless for whoever still holds it.
        session.execute(delete(Token).where(Token.job_id == job.id))
        queue_again(
            session,
            job.id,
            Job.attempt == job.attempt,
            cause=cause,
            queued=func.now(),
            started=None,
            runner=None,
            lease_expires=None,
            plan={},
        )
    with suppress(RedisError):
        backend.logs.append(name, job.attempt + 1, len(data), words)
    log.warning("begun again: %s", cause, extra=of_job(job.id, job.attempt))
    return True


def _is_untouched(session: Session, job: Job) -> bool:
    is_sealed = session.scalar(select(Log.id).where(Log.job_id == job.id).limit(1)) is not None
    has_begun = any(task.status != TaskStatus.PENDING for task in job.tasks)
    return not (job.cancel_requested or has_begun or is_sealed)
