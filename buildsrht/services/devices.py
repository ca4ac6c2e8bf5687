"""Programs without a browser of their own (RFC 8628): they show a short code, their user types it
where they are signed in and decides, and meanwhile they ask again and again.

The short code says only which program is meant. What is exchanged for tokens is the long one, which
nobody but the program has.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import NotFound
from buildsrht.models import DeviceCode, User
from buildsrht.services.attempts import Limit
from buildsrht.services.clients import Program, lock_client, program_of
from buildsrht.services.grants import give
from buildsrht.services.opaque import digest_of, new_text

DEVICE_PREFIX = "bsrht_device_"
SECONDS = 900
PAUSE_SECONDS = 5

# No vowels, which would make words, and nothing that looks like something else.
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
HALF = 4

# Of 25 thousand million short codes a few may be open: so many tries find none.
GUESSES = Limit("device", 20, 300)
REQUESTS = Limit("device-request", 60, 600)


@dataclass(frozen=True)
class Begun:
    """What a program has to show, and what it asks again with."""

    device_code: str
    user_code: str
    seconds: int = SECONDS
    pause_seconds: int = PAUSE_SECONDS


def begin(backend: Backend, program: Program, scopes: Iterable[str]) -> Begun:
    text = new_text(DEVICE_PREFIX)
    user_code = "".join(secrets.choice(ALPHABET) for _ in range(2 * HALF))
    with backend.transaction() as session:
        if program.row_id is not None:
            lock_client(session, program.row_id)
        session.add(
            DeviceCode(
                hash=digest_of(text),
                user_code=user_code,
                client_id=program.row_id,
                scopes=list(scopes),
                expires=datetime.now(UTC) + timedelta(seconds=SECONDS),
                pause_seconds=PAUSE_SECONDS,
            )
        )
    return Begun(text, shown(user_code))


def shown(user_code: str) -> str:
    """As people read it: `BCDF-GHJK`."""
    return f"{user_code[:HALF]}-{user_code[HALF:]}"


def typed(text: str) -> str:
    """A short code as it is kept, however somebody has typed it."""
    return "".join(letter for letter in text.upper() if letter in ALPHABET)


def find_waiting(session: Session, user_code: str) -> DeviceCode:
    """The device that shows this code and has no answer yet. Raises NotFound."""
    device = session.scalar(
        select(DeviceCode).where(DeviceCode.user_code == typed(user_code), *_is_waiting())
    )
    if device is None:
        raise NotFound("no program waits with this code: it may be mistyped, used or expired")
    return device


def approve(backend: Backend, user: User, user_code: str) -> None:
    """The user allows the program what it asks for. Raises NotFound like the above."""
    with backend.transaction() as session:
        device = find_waiting(session, user_code)
        grant = give(session, user, program_of(device.client), device.scopes)
        _decide(session, device, grant_id=grant.id)


def deny(backend: Backend, user_code: str) -> None:
    with backend.transaction() as session:
        _decide(session, find_waiting(session, user_code), denied=func.now())


def _decide(session: Session, device: DeviceCode, **decision: object) -> None:
    decided = session.execute(
        update(DeviceCode)
        .where(DeviceCode.id == device.id, *_is_waiting())
        .values(decision)
        .returning(DeviceCode.id)
        .execution_options(synchronize_session=False)
    )
    if decided.first() is None:
        raise NotFound("this was decided a moment ago")


def _is_waiting() -> tuple[ColumnElement[bool], ...]:
    return (
        DeviceCode.expires > func.now(),
        DeviceCode.denied.is_(None),
        DeviceCode.grant_id.is_(None),
    )


def find_device(session: Session, text: str) -> DeviceCode | None:
    """By the long code, whatever has come of it."""
    return session.scalar(select(DeviceCode).where(DeviceCode.hash == digest_of(text)))


def is_over(device: DeviceCode) -> bool:
    return device.expires <= datetime.now(UTC)


def asks_too_often(backend: Backend, device: DeviceCode) -> bool:
    """Whether a device that waits has asked before its pause was over: then it has to make longer
    ones from now on."""
    with backend.transaction() as session:
        pause = DeviceCode.pause_seconds * timedelta(seconds=1)
        hurried = session.scalar(
            update(DeviceCode)
            .where(DeviceCode.id == device.id, DeviceCode.polled > func.now() - pause)
            .values(polled=func.now(), pause_seconds=DeviceCode.pause_seconds + PAUSE_SECONDS)
            .returning(DeviceCode.id)
            .execution_options(synchronize_session=False)
        )
        if hurried is None:
            session.execute(
                update(DeviceCode)
                .where(DeviceCode.id == device.id)
                .values(polled=func.now())
                .execution_options(synchronize_session=False)
            )
    return hurried is not None
