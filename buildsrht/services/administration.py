"""What administrators may do with the accounts of others, and only they and the operator.

Whoever did what is written to the log of the process.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import Conflict, NotFound
from buildsrht.models import User
from buildsrht.services import sign_ins
from buildsrht.services.users import lock_user, require_user

log = logging.getLogger(__name__)

LAST = "somebody has to administer this service: make another one an administrator before"


def require_administrator(user: User | None) -> User:
    """Raises NotFound: for others there is nothing here."""
    if user is None or not user.admin:
        raise NotFound("there is no such page")
    return user


def find_people(session: Session, text: str, start: str | None, count: int) -> Sequence[User]:
    """Those whose name or address has the text in it, by name, beginning with the name `start`."""
    text = text.lower()
    has_text = or_(
        User.name.contains(text, autoescape=True),
        func.lower(User.email).contains(text, autoescape=True),
    )
    people = select(User).where(has_text).order_by(User.name).limit(count)
    if start is not None:
        people = people.where(User.name >= start)
    return session.scalars(people).all()


def appoint(backend: Backend, author: User, name: str) -> None:
    """Make somebody an administrator."""
    require_administrator(author)
    with backend.transaction() as session:
        require_user(session, name).admin = True
    note(author, f"made ~{name} an administrator")


def dismiss(backend: Backend, author: User, name: str) -> None:
    """Somebody is an administrator no longer. Raises Conflict for the last who can be one."""
    require_administrator(author)
    with backend.transaction() as session:
        user = require_user(session, name)
        require_another_administrator(session, user)
        user.admin = False
    note(author, f"made ~{name} an administrator no longer")


def require_another_administrator(session: Session, user: User) -> None:
    """Raises Conflict if nobody but this user administers the service.

    Holds all who do until the transaction ends, so that two cannot each be the other one.
    """
    able = select(User.id).where(User.admin, User.suspended.is_(None)).order_by(User.id)
    found = session.scalars(able.with_for_update(key_share=True)).all()
    if set(found) <= {user.id}:
        raise Conflict(LAST)


def sign_out(backend: Backend, author: User, name: str) -> None:
    """Have somebody signed in nowhere any more. Their tokens and programs stay."""
    require_administrator(author)
    with backend.transaction() as session:
        sign_ins.end_all(session, require_user(session, name))
    note(author, f"signed ~{name} out everywhere")


def suspend(backend: Backend, author: User | None, name: str) -> None:
    """Keep somebody from doing anything here, until they are restored; without an author it is the
    operator who does. Their jobs go on. Raises Conflict for the last administrator."""
    if author:
        require_administrator(author)
    with backend.transaction() as session:
        user = require_user(session, name)
        lock_user(session, user)
        if user.admin:
            require_another_administrator(session, user)
        user.suspended = user.suspended or datetime.now(UTC)
        # Now, and not at the end: who signs in at this moment waits for this.
        session.flush()
        sign_ins.end_all(session, user)
    if author:
        note(author, f"suspended ~{name}")


def restore(backend: Backend, author: User | None, name: str) -> None:
    """Somebody may do again what they could before; they have to sign in anew."""
    if author:
        require_administrator(author)
    with backend.transaction() as session:
        require_user(session, name).suspended = None
    if author:
        note(author, f"restored ~{name}")


def note(author: User, deed: str) -> None:
    # Rare, and not to be missed: this is what every process shows.
    log.warning("%s %s", author.canonical_name, deed)
