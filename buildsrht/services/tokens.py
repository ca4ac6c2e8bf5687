"""OAuth tokens: made, found by their text, revoked. The text itself is never stored."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import Token
from buildsrht.services.users import ensure_user

SCOPES = ("jobs:read", "jobs:write")
# Whoever may write may read what they wrote.
IMPLIED = {"jobs:write": "jobs:read"}
# A prefix lets people, and scanners of leaked secrets, see what a token is for.
PREFIX = "bsrht_"
DEFAULT_DAYS = 365

# Almost every request begins with it, so it is built once.
FIND_TOKEN = select(Token).where(Token.hash == bindparam("digest"))


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
    text = PREFIX + secrets.token_urlsafe(32)
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


def find_token(session: Session, text: str) -> Token | None:
    """The token with this text, whether it is still good or not."""
    return session.scalar(FIND_TOKEN, {"digest": _hash(text)})


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


def is_usable(token: Token) -> bool:
    return token.revoked is None and token.expires > datetime.now(UTC)


def allowed_scopes(token: Token) -> set[str]:
    """The scopes granted, and those that they imply."""
    return set(token.scopes) | {IMPLIED[scope] for scope in token.scopes if scope in IMPLIED}


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
