"""Accounts."""

import re

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from buildsrht.errors import BadInput, FieldError, Forbidden, NotFound
from buildsrht.models import User

NAME = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
NAME_RULE = "must be 1 to 63 of a-z, 0-9, _ and -, and begin with a-z or _"
SUSPENDED = "this account is suspended; who administers this service knows why"


def ensure_user(session: Session, name: str) -> User:
    """The user of this name, created if need be. Raises BadInput for a name that cannot be."""
    if not NAME.fullmatch(name):
        raise BadInput([FieldError("user", f"{name!r} {NAME_RULE}")])
    session.execute(insert(User).values(name=name, admin=False).on_conflict_do_nothing())
    return session.scalars(select(User).where(User.name == name)).one()


def lock_user(session: Session, user: User) -> None:
    """Let nobody else who locks this user go on until the transaction ends: so that of two who add
    to what a user has, the second counts, and finds taken, what the first has added.

    Rows that only name the user, a job say, come in all the same: this is FOR NO KEY UPDATE.
    """
    session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))


def find_user(session: Session, name: str) -> User | None:
    return session.scalar(select(User).where(User.name == name))


def require_user(session: Session, name: str) -> User:
    user = find_user(session, name)
    if user is None:
        raise NotFound(f"there is no user {name!r}")
    return user


def is_suspended(user: User) -> bool:
    """Whether somebody is kept from doing anything here. Whoever lets users in, by whatever they
    have brought, asks this; what was begun before goes on."""
    return user.suspended is not None


def insist_on_active(user: User) -> None:
    """Raises Forbidden for who is suspended."""
    if is_suspended(user):
        raise Forbidden(SUSPENDED)
