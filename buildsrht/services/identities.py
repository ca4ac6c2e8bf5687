"""Who signs in by an OpenID Connect provider.

A person is what the provider calls them for good, its `subject`; never an email address or a name,
which can be somebody else's tomorrow, or at another provider today. An account gets to know a
subject when it is made for it, or when its owner, signed in, says so.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, NotFound
from buildsrht.models import Identity, User
from buildsrht.services import sign_ins
from buildsrht.services.accounts import add_user, is_address
from buildsrht.services.attempts import Limit
from buildsrht.services.opaque import digest_of

# How long somebody may take at the provider.
WAIT_SECONDS = 600
# Sign-ins that one place may begin. Each is kept for that time.
REQUESTS = Limit("provider", 60, WAIT_SECONDS)


def find_by_identity(session: Session, issuer: str, subject: str) -> User | None:
    identity = session.scalar(
        select(Identity).where(Identity.issuer == issuer, Identity.subject == subject)
    )
    return identity.user if identity else None


def list_identities(session: Session, user: User) -> Sequence[Identity]:
    return session.scalars(
        select(Identity).where(Identity.user_id == user.id).order_by(Identity.id)
    ).all()


def bind(backend: Backend, user: User, issuer: str, subject: str) -> None:
    """From now on this subject opens the user's account. Raises Conflict if it opens another."""
    with backend.transaction() as session:
        _bind(session, user, issuer, subject)


def _bind(session: Session, user: User, issuer: str, subject: str) -> None:
    session.execute(
        insert(Identity)
        .values(user_id=user.id, issuer=issuer, subject=subject)
        .on_conflict_do_nothing()
    )
    bound_to = find_by_identity(session, issuer, subject)
    if bound_to is None or bound_to.id != user.id:
        raise Conflict("this account of the provider opens another account here")


def unbind(backend: Backend, user: User, identity_id: int) -> None:
    """It opens the account no longer, and whoever is signed in is signed out: it may have let them
    in. Raises Conflict if nothing else would open it."""
    with backend.transaction() as session:
        locked = session.scalars(select(User).where(User.id == user.id).with_for_update()).one()
        count = select(func.count(Identity.id)).where(Identity.user_id == user.id)
        if locked.password is None and session.scalars(count).one() <= 1:
            raise Conflict("this is the only way into your account")
        gone = delete(Identity).where(Identity.id == identity_id, Identity.user_id == user.id)
        if session.scalar(gone.returning(Identity.id)) is None:
            raise NotFound("your account has no such identity")
        sign_ins.end_all(session, user)


def create_user_for(
    backend: Backend, issuer: str, subject: str, name: str, email: str | None
) -> User:
    """A new account for somebody whom nobody knows yet, and who is known by this from now on.

    An address that somebody has already is left out. Raises Conflict if the name is somebody's, or
    can be nobody's: whose account that is the provider cannot say.
    """
    wanted = re.sub(r"[^a-z0-9_-]", "-", name.lower())
    try:
        with backend.transaction() as session:
            user = add_user(session, wanted, _free(session, email))
            _bind(session, user, issuer, subject)
            return user
    except BadInput as bad:
        raise Conflict(
            f"no account could be made for you: {bad}. If it is yours, sign in to it in another "
            "way and connect the two"
        ) from bad


def _free(session: Session, email: str | None) -> str | None:
    if email is None or not is_address(email):
        return None
    taken = select(User.id).where(func.lower(User.email) == email.lower())
    return None if session.scalar(taken) else email


# --- on the way ---------------------------------------------------------------------------------


def remember(backend: Backend, state: str, known: dict[str, Any]) -> None:
    """What we have to know when somebody comes back from the provider with this state."""
    backend.redis.set(_key(state), json.dumps(known), ex=WAIT_SECONDS)


def recall(backend: Backend, state: str) -> dict[str, Any] | None:
    """It once: whoever comes back a second time comes with nothing."""
    kept = backend.redis.getdel(_key(state))
    known: dict[str, Any] | None = json.loads(kept) if kept else None
    return known


def _key(state: str) -> str:
    return f"provider:{digest_of(state).hex()}"
