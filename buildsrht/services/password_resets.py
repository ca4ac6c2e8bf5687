"""Ways back in for whoever has forgotten a password: a text that is sent by mail to the address of
an account, good once and for an hour.

Who asks for one learns nothing by it: not whether there is such an account, nor whether mail was
sent. The text is made by the courier, on its way into the mail, and nothing but its digest is kept
anywhere, so that nobody who reads the queue or the database gets in. A mail that gets lost is asked
for again.
"""

from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.errors import Conflict, NotFound, TooMany, Unavailable
from buildsrht.models import PasswordReset, User
from buildsrht.services import attempts
from buildsrht.services.attempts import Limit
from buildsrht.services.opaque import digest_of, new_text
from buildsrht.services.users import is_suspended

SECONDS = 3600
# Mails that may be asked for, from one place whoever they are for, and for one account wherever
# from.
BY_PLACE = Limit("reset-place", 20, 3600)
BY_ACCOUNT = Limit("reset-account", 5, 3600)
# No account has this number.
NOBODY = 0

GONE = "this link is not good any more"


def ask(backend: Backend, who: str) -> None:
    """Have mail sent to whoever has this name or address, if anybody has.

    Whose account has no password gets none: they come in by a provider, and whose address it is
    nobody has proven here.
    """
    with backend.transaction() as session:
        user = _find(session, who)
    wanted = user.id if user and user.password and _is_to_be_reached(user) else NOBODY
    try:
        attempts.count(backend, BY_ACCOUNT, str(wanted))
    except TooMany:
        return
    # In the queue all the same: it takes as long for nobody as for somebody.
    backend.resets.enqueue(wanted)


def send(backend: Backend, user: User) -> None:
    """Have mail sent to somebody, also for a first password. Raises Conflict if none reaches them,
    and Unavailable if the queue is away."""
    if not backend.config.mail.host:
        raise Conflict("this service sends no mail")
    if not _is_to_be_reached(user):
        raise Conflict("whoever is suspended or has no address gets no mail")
    try:
        backend.resets.enqueue(user.id)
    except RedisError as error:
        raise Unavailable("no mail can be sent now: try again later") from error


def begin(backend: Backend, user_id: int) -> tuple[User, str] | None:
    """Whom to send mail, and the text for it; None if nobody is to be sent any."""
    text = new_text()
    with backend.transaction() as session:
        # Who changes the address or the password at this moment waits for this, or is seen.
        user = session.get(User, user_id, with_for_update={"read": True})
        if user is None or not _is_to_be_reached(user):
            return None
        expires = datetime.now(UTC) + timedelta(seconds=SECONDS)
        session.add(PasswordReset(user_id=user.id, hash=digest_of(text), expires=expires))
    return user, text


def find_user(session: Session, text: str) -> User | None:
    """Whose account this text opens, while it is good."""
    found = session.scalar(
        select(PasswordReset).where(PasswordReset.hash == digest_of(text), *_is_good())
    )
    return None if found is None or is_suspended(found.user) else found.user


def use_up(session: Session, text: str) -> None:
    """Raises NotFound if somebody else has done so."""
    of_text = PasswordReset.hash == digest_of(text)
    if not _end(session, of_text):
        raise NotFound(GONE)


def end_all(session: Session, user: User) -> None:
    """Those that were sent to somebody before are good for nothing any more."""
    _end(session, PasswordReset.user_id == user.id)


def remove_expired(backend: Backend) -> None:
    with backend.transaction() as session:
        session.execute(delete(PasswordReset).where(PasswordReset.expires <= func.now()))


def _find(session: Session, who: str) -> User | None:
    known_as = func.lower(User.email) if "@" in who else User.name
    return session.scalar(select(User).where(known_as == who.lower()))


def _is_to_be_reached(user: User) -> bool:
    return user.email is not None and not is_suspended(user)


def _is_good() -> tuple[ColumnElement[bool], ...]:
    return PasswordReset.used.is_(None), PasswordReset.expires > func.now()


def _end(session: Session, which: ColumnElement[bool]) -> bool:
    ended = session.execute(
        update(PasswordReset)
        .where(which, *_is_good())
        .values(used=func.now())
        .returning(PasswordReset.id)
        .execution_options(synchronize_session=False)
    )
    return ended.first() is not None
