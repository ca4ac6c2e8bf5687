"""Browsers in which somebody has signed in. Each has a text in its cookie that nobody else has."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.models import SignIn, User
from buildsrht.services.opaque import digest_of, new_text
from buildsrht.services.users import insist_on_active, is_suspended

DAYS = 30
# Of one account: whoever signs in again and again is signed out where it was longest ago.
BROWSERS = 64


def begin(backend: Backend, user: User) -> str:
    """The text that is the browser's from now on; a new one each time.

    Raises Conflict if the password was changed after `user` was found by the one before, and
    Forbidden if they are suspended.
    """
    text = new_text()
    with backend.transaction() as session:
        same = User.password.is_not_distinct_from(user.password)
        found = select(User).where(User.id == user.id, same).with_for_update(read=True)
        now = session.scalar(found)
        if now is None:
            raise Conflict("the password was changed: sign in again")
        insist_on_active(now)
        older = select(SignIn.id).where(SignIn.user_id == user.id).order_by(SignIn.id.desc())
        session.execute(delete(SignIn).where(SignIn.id.in_(older.offset(BROWSERS - 1))))
        expires = datetime.now(UTC) + timedelta(days=DAYS)
        session.add(SignIn(user_id=user.id, hash=digest_of(text), expires=expires))
    return text


def find_user(session: Session, text: str) -> User | None:
    """Who has signed in in the browser with this text."""
    signed_in = session.scalar(
        select(SignIn).where(SignIn.hash == digest_of(text), SignIn.expires > func.now())
    )
    if signed_in is None or is_suspended(signed_in.user):
        return None
    return signed_in.user


def end(backend: Backend, text: str) -> None:
    with backend.transaction() as session:
        session.execute(delete(SignIn).where(SignIn.hash == digest_of(text)))


def end_all(session: Session, user: User) -> None:
    session.execute(delete(SignIn).where(SignIn.user_id == user.id))


def remove_expired_sign_ins(backend: Backend) -> None:
    with backend.transaction() as session:
        session.execute(delete(SignIn).where(SignIn.expires <= func.now()))
