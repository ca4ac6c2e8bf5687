"""OAuth tokens: made, found by their text, revoked. The text itself is never stored.

A token that was made for a job is good while that job runs, its build host is alive and nobody has
cancelled it; one that a program has, while the program's grant was not revoked. Every look for a
token makes sure of that, so that nothing has to happen to tokens when a job or a grant ends.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import Job, JobStatus, OAuthGrant, Token, User
from buildsrht.services.opaque import digest_of, new_text
from buildsrht.services.runs import Run, require_ours
from buildsrht.services.scopes import NEEDED, granted, read_scopes
from buildsrht.services.users import ensure_user, lock_user, require_user

PREFIX = "bsrht_"
DEFAULT_DAYS = 365
MOST_DAYS = 3650
COMMENT_CHARACTERS = 255
# Of those that are good. A person has a few; whoever makes them by a script meets the end of it.
TOKENS_OF_A_USER = 256

# Almost every request begins with the first, so it is built once and asks for no more than needed.
FIND_TOKEN = select(Token).where(Token.hash == bindparam("digest"))
FIND_RUNNING_JOB = select(Job.id).where(
    Job.id == bindparam("job_id"),
    Job.status == JobStatus.RUNNING,
    Job.cancel_requested.is_(None),
    # Its build host is lost, although nobody has said so yet.
    Job.lease_expires > func.now(),
)
FIND_LIVING_GRANT = select(OAuthGrant.id).where(
    OAuthGrant.id == bindparam("grant_id"), OAuthGrant.revoked.is_(None)
)


def create_token(
    backend: Backend,
    user: str,
    scopes: Iterable[str],
    days: int = DEFAULT_DAYS,
    comment: str | None = None,
) -> str:
    """A new token's text, shown this once. Creates the user if need be."""
    problems: list[FieldError] = []
    wanted: list[str] = []
    try:
        wanted = read_scopes(scopes)
    except BadInput as bad:
        problems += bad.errors
    if not 0 < days <= MOST_DAYS:
        problems.append(FieldError("days", f"must be 1 to {MOST_DAYS}, got {days}"))
    if comment and (len(comment) > COMMENT_CHARACTERS or not comment.isprintable()):
        reason = f"must be one line of at most {COMMENT_CHARACTERS} characters"
        problems.append(FieldError("comment", reason))
    if problems:
        raise BadInput(problems)
    text = new_text(PREFIX)
    with backend.transaction() as session:
        owner = ensure_user(session, user)
        lock_user(session, owner)
        if len(list_tokens(session, owner)) >= TOKENS_OF_A_USER:
            raise BadInput([FieldError("user", f"has {TOKENS_OF_A_USER} tokens: revoke some")])
        session.add(
            Token(
                user_id=owner.id,
                hash=digest_of(text),
                scopes=wanted,
                comment=comment or None,
                expires=datetime.now(UTC) + timedelta(days=days),
            )
        )
    return text


def create_job_token(backend: Backend, run: Run, grants: Iterable[str]) -> str:
    """The text of a token for the job that `run` runs, of its owner; good until the job's time is
    over at the latest. It takes the place of one from an earlier run. Raises Conflict when the job
    is no longer ours."""
    text = new_text(PREFIX)
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
                hash=digest_of(text),
                scopes=sorted(grants),
                comment=f"job {run.job_id}",
                expires=expires,
            )
        )
    return text


def find_token(session: Session, text: str) -> Token | None:
    """The token with this text, whether it is still good or not; but not a job's when the job is
    over, nor a program's whose grant was revoked."""
    token = session.scalar(FIND_TOKEN, {"digest": digest_of(text)})
    return token if token and _is_alive(session, token) else None


def _is_alive(session: Session, token: Token) -> bool:
    """Whether what a token was made for, if anything, still goes on."""
    if token.job_id is not None:
        return session.scalar(FIND_RUNNING_JOB, {"job_id": token.job_id}) is not None
    if token.grant_id is not None:
        return session.scalar(FIND_LIVING_GRANT, {"grant_id": token.grant_id}) is not None
    return True


def list_tokens(session: Session, user: User) -> Sequence[Token]:
    """The tokens that a user made and that are good, newest first; not those of jobs and of
    programs."""
    return session.scalars(
        select(Token)
        .where(
            Token.user_id == user.id,
            Token.job_id.is_(None),
            Token.grant_id.is_(None),
            Token.revoked.is_(None),
            Token.expires > func.now(),
        )
        .order_by(Token.id.desc())
    ).all()


def list_tokens_of(session: Session, name: str) -> Sequence[Token]:
    return list_tokens(session, require_user(session, name))


def revoke_token(backend: Backend, text: str) -> None:
    """From now on this token opens nothing. Revoking it twice is no error."""
    with backend.transaction() as session:
        known = session.execute(_revocation().where(Token.hash == digest_of(text)))
        if known.first() is None:
            raise NotFound("no such token")


def revoke_own_token(backend: Backend, user: User, token_id: int) -> Token:
    """The same for a token that this user made, by the number that lists give it."""
    with backend.transaction() as session:
        own = _revocation().where(
            Token.id == token_id,
            Token.user_id == user.id,
            Token.job_id.is_(None),
            Token.grant_id.is_(None),
        )
        token: Token | None = session.scalar(own)
        if token is None:
            raise NotFound(f"there is no token {token_id} of {user.canonical_name}")
        return token


def revoke_token_of(backend: Backend, name: str, token_id: int) -> None:
    with backend.transaction() as session:
        user = require_user(session, name)
    revoke_own_token(backend, user, token_id)


def _revocation() -> ReturningUpdate[Any]:
    return update(Token).values(revoked=func.coalesce(Token.revoked, func.now())).returning(Token)


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
    that the owner has built would be one, too. Nor is a program that an administrator lets act for
    them: what they were asked says nothing of everybody's jobs.
    """
    user = token.user
    if token.job_id is None and token.grant_id is None:
        return user
    return User(id=user.id, created=user.created, name=user.name, admin=False)


def is_allowed(token: Token, scope: str) -> bool:
    """Whether the token is good for what `scope` guards."""
    return NEEDED[scope] in granted(token.scopes)
