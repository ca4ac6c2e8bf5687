"""OAuth tokens: made, found by their text, revoked. The text itself is never stored.

A token that was made for a job is good while that job runs, its build host is alive and nobody has
cancelled it. Every look for a token makes sure of that, so that nothing has to happen at the job's
end.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import Job, JobStatus, Token, User
from buildsrht.services.runs import Run, require_ours
from buildsrht.services.scopes import NEEDED, SCOPES, granted
from buildsrht.services.users import ensure_user

# A prefix lets people, and scanners of leaked secrets, see what a token is for.
PREFIX = "bsrht_"
DEFAULT_DAYS = 365

# Almost every request begins with the first, so it is built once and asks for no more than needed.
FIND_TOKEN = select(Token).where(Token.hash == bindparam("digest"))
FIND_RUNNING_JOB = select(Job.id).where(
    Job.id == bindparam("job_id"),
    Job.status == JobStatus.RUNNING,
    Job.cancel_requested.is_(None),
    # Its build host is lost, although nobody has said so yet.
    Job.lease_expires > func.now(),
)


def create_token(
    backend: Backend,
    user: str,
    scopes: Iterable[str],
    days: int = DEFAULT_DAYS,
    comment: str | None = None,
) -> str:
    """A new token's text, shown this once. Creates the user if need be."""
    wanted = sorted(set(scopes))
    problems = [
        FieldError("scopes", f"{scope!r} is none of {', '.join(SCOPES)}")
        for scope in wanted
        if scope not in SCOPES
    ]
    if not wanted:
        problems.append(FieldError("scopes", f"needs at least one of {', '.join(SCOPES)}"))
    if not 0 < days <= 3650:
        problems.append(FieldError("days", f"must be 1 to 3650, got {days}"))
    if problems:
        raise BadInput(problems)
    text = _new_text()
    with backend.transaction() as session:
        session.add(
            Token(
                user_id=ensure_user(session, user).id,
                hash=_hash(text),
                scopes=wanted,
                comment=comment,
                expires=datetime.now(UTC) + timedelta(days=days),
            )
        )
    return text


def create_job_token(backend: Backend, run: Run, grants: Iterable[str]) -> str:
    """The text of a token for the job that `run` runs, of its owner; good until the job's time is
    over at the latest. It takes the place of one from an earlier run. Raises Conflict when the job
    is no longer ours."""
    text = _new_text()
    with backend.transaction() as session:
        require_ours(session, run)
        deadline = Job.started + timedelta(seconds=backend.config.worker.job_timeout)
        owner_id, expires = session.execute(
            select(Job.owner_id, deadline).where(Job.id == run.job_id)
        ).one()
        session.execute(delete(Token).where(Token.job_id == run.job_id))
        session.add(
            Token(
                user_id=owner_id,
                job_id=run.job_id,
                hash=_hash(text),
                scopes=sorted(grants),
                comment=f"job {run.job_id}",
                expires=expires,
            )
        )
    return text


def find_token(session: Session, text: str) -> Token | None:
    """The token with this text, whether it is still good or not; but not a job's when the job is
    over."""
    token = session.scalar(FIND_TOKEN, {"digest": _hash(text)})
    if token is None or token.job_id is None:
        return token
    is_running = session.scalar(FIND_RUNNING_JOB, {"job_id": token.job_id}) is not None
    return token if is_running else None


def revoke_token(backend: Backend, text: str) -> None:
    """From now on this token opens nothing. Revoking it twice is no error."""
    with backend.transaction() as session:
        known = session.execute(
            update(Token)
            .where(Token.hash == _hash(text))
            .values(revoked=func.coalesce(Token.revoked, func.now()))
            .returning(Token.id)
        )
        if known.first() is None:
            raise NotFound("no such token")


def remove_job_tokens(backend: Backend) -> None:
    """Remove the tokens of jobs that are over; they open nothing any more."""
    over = [status for status in JobStatus if status.is_final]
    with backend.transaction() as session:
        session.execute(
            delete(Token)
            .where(Token.job_id.is_not(None), Token.job_id == Job.id, Job.status.in_(over))
            .execution_options(synchronize_session=False)
        )


def is_usable(token: Token) -> bool:
    return token.revoked is None and token.expires > datetime.now(UTC)


def user_of(token: Token) -> User:
    """Whom a token stands for.

    A job is never an administrator, even if its owner is one: whoever may write to a repository
    that the owner has built would be one, too.
    """
    user = token.user
    if token.job_id is None:
        return user
    return User(id=user.id, created=user.created, name=user.name, admin=False)


def is_allowed(token: Token, scope: str) -> bool:
    """Whether the token is good for what `scope` guards."""
    return NEEDED[scope] in granted(token.scopes)


def _new_text() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
