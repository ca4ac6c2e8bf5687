"""Accounts: who they are of, and the passwords that open them.

A password is kept as an Argon2 hash. An account without one is opened by a provider's word or not
at all; its tokens and keys work all the same.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import User
from buildsrht.services import password_resets, sign_ins
from buildsrht.services.attempts import Limit
from buildsrht.services.users import NAME, NAME_RULE, require_user

PASSWORD_CHARACTERS = range(10, 1025)
EMAIL = re.compile(r"[^@\s<>,;:]+@[^@\s<>,;:]+")
EMAIL_CHARACTERS = 254

# Passwords that may be tried, for one name wherever from, and from one place whatever the name.
BY_NAME = Limit("sign-in-name", 10, 300)
BY_PLACE = Limit("sign-in-place", 50, 300)
# Accounts that people in one place may try to make for themselves.
REGISTRATIONS = Limit("registration", 20, 3600)

# As OWASP advises. More memory would be better against who has stolen the hashes, and worse against
# who has many names tried at once.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# What the password of nobody is compared with: an unknown name takes as long as a known one.
NOBODYS = HASHER.hash("the password of nobody")


def create_user(
    backend: Backend, name: str, email: str | None = None, *, admin: bool = False
) -> User:
    """A new account, without a password. Raises BadInput, also if the name or address is taken."""
    with backend.transaction() as session:
        return add_user(session, name, email, admin=admin)


def add_user(session: Session, name: str, email: str | None, *, admin: bool = False) -> User:
    """The same in a transaction, which is over if it fails."""
    if problems := [*_problems_of_name(name), *_problems_of_address(email)]:
        raise BadInput(problems)
    user = User(name=name, email=email, admin=admin)
    session.add(user)
    _flush(session, user)
    return user


def register(backend: Backend, name: str, email: str, password: str) -> User:
    """An account that somebody makes for themselves. Raises BadInput with all that is wrong, also
    if the name or address is taken."""
    problems = [*_problems_of_name(name), *_problems_of_address(email)]
    if problems := [*problems, *_problems_of_password(password)]:
        raise BadInput(problems)
    hashed = HASHER.hash(password)
    with backend.transaction() as session:
        user = add_user(session, name, email)
        user.password = hashed
        return user


def set_email(backend: Backend, name: str, email: str | None) -> None:
    """From now on mail reaches them there, or nowhere. What was sent before lets nobody in any
    more. Raises BadInput, also if the address is somebody else's."""
    if problems := _problems_of_address(email):
        raise BadInput(problems)
    with backend.transaction() as session:
        user = require_user(session, name)
        user.email, user.updated = email, datetime.now(UTC)
        _flush(session, user)
        password_resets.end_all(session, user)


def _problems_of_name(name: str) -> list[FieldError]:
    return [] if NAME.fullmatch(name) else [FieldError("name", f"{name!r} {NAME_RULE}")]


def _problems_of_address(email: str | None) -> list[FieldError]:
    if email is None or is_address(email):
        return []
    return [FieldError("email", f"{email!r} is no address such as ada@example.org")]


def _flush(session: Session, user: User) -> None:
    """Raises BadInput for a name or an address that is somebody's, and the transaction is over."""
    name, email = user.name, user.email
    try:
        session.flush()
    except IntegrityError as error:
        taken = FieldError("email", f"{email!r} is somebody's already")
        if "user_email" not in str(error.orig):
            taken = FieldError("name", f"{name!r} is somebody's already")
        raise BadInput([taken]) from error


def is_address(email: str) -> bool:
    is_text = len(email) <= EMAIL_CHARACTERS and email.isprintable()
    return is_text and EMAIL.fullmatch(email) is not None


def list_users(session: Session) -> Sequence[User]:
    return session.scalars(select(User).order_by(User.name)).all()


def set_password(backend: Backend, name: str, password: str) -> User:
    """From now on this opens the account. Whoever is signed in to it is no longer."""
    hashed = _hash(password)
    with backend.transaction() as session:
        user = require_user(session, name)
        _open_by(session, user, hashed)
        return user


def reset_password(backend: Backend, text: str, password: str) -> User:
    """The same for whoever was sent this text. Raises NotFound if it is not good any more."""
    hashed = _hash(password)
    with backend.transaction() as session:
        user = password_resets.find_user(session, text)
        if user is None:
            raise NotFound(password_resets.GONE)
        # In this order, so that of two who come with it at once the second finds it used.
        session.refresh(user, with_for_update=True)
        password_resets.use_up(session, text)
        _open_by(session, user, hashed)
        return user


def _problems_of_password(password: str) -> list[FieldError]:
    if len(password) in PASSWORD_CHARACTERS:
        return []
    least, most = PASSWORD_CHARACTERS[0], PASSWORD_CHARACTERS[-1]
    return [FieldError("password", f"must have {least} to {most} characters")]


def _hash(password: str) -> str:
    if problems := _problems_of_password(password):
        raise BadInput(problems)
    return HASHER.hash(password)


def _open_by(session: Session, user: User, hashed: str) -> None:
    user.password, user.updated = hashed, datetime.now(UTC)
    # Now, and not at the end: who signs in by the old one at this moment waits for this.
    session.flush()
    sign_ins.end_all(session, user)
    password_resets.end_all(session, user)


def find_by_password(backend: Backend, name: str, password: str) -> User | None:
    """Whose name and password these are. It takes the same time whether there is such a name.

    A hash that was made with other parameters than today's is made anew.
    """
    with backend.transaction() as session:
        user = session.scalar(select(User).where(User.name == name)) if "\0" not in name else None
    hashed = (user and user.password) or NOBODYS
    try:
        HASHER.verify(hashed, password if len(password) in PASSWORD_CHARACTERS else "")
    except (VerificationError, InvalidHashError):
        return None
    if user is None or user.password is None:
        return None
    if HASHER.check_needs_rehash(user.password):
        _rehash(backend, user, password)
    return user


def _rehash(backend: Backend, user: User, password: str) -> None:
    new = HASHER.hash(password)
    with backend.transaction() as session:
        # Not over a password that was set in the meantime.
        same = update(User).where(User.id == user.id, User.password == user.password)
        session.execute(same.values(password=new).execution_options(synchronize_session=False))
    user.password = new
