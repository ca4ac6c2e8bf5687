"""What the database keeps sealed, and how it gets from an old key to a new one.

Whoever seals or opens a value calls `hold_keys()` first, in the transaction that stores or reads
it. So nobody stores what only a key opens that has just been forgotten, and nobody reads such a
value: whoever came before a rotation is waited for, and whoever comes later finds the new key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from buildsrht import keys
from buildsrht.backend import Backend
from buildsrht.models import Hook, KeptMachine, Secret
from buildsrht.unhurried import unhurried

# Any number does, as long as nothing else takes an advisory lock of that number in this database.
ADVISORY_LOCK = 0x7365616C


class Column(NamedTuple):
    """One column that is sealed, and in what context it is in each row."""

    of: InstrumentedAttribute[Any]
    context: Callable[[Any], str]


def secret_context(secret: Secret) -> str:
    return f"secret {secret.uuid} of user {secret.owner_id}"


def hook_context(hook: Hook) -> str:
    return f"hook {hook.uuid}"


def credential_context(hook: Hook) -> str:
    return f"hook {hook.uuid} credential"


def machine_context(machine: KeptMachine) -> str:
    return f"kept machine {machine.job_id}"


SEALED = (
    Column(Secret.sealed, secret_context),
    Column(Hook.sealed, hook_context),
    Column(Hook.credential, credential_context),
    Column(KeptMachine.sealed_key, machine_context),
)


@dataclass(frozen=True)
class Rotation:
    """What became of a rotation: how many values were sealed anew, how many keys forgotten."""

    resealed: int
    forgotten: int


def hold_keys(session: Session) -> None:
    """Have the keys stay as they are until this transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock_shared(ADVISORY_LOCK)))


def begin_rotation(backend: Backend) -> bool:
    """Make a new key, which encrypts from now on. False if a rotation was begun before: then that
    one's new key is the new key."""
    with backend.transaction() as session:
        _take_keys(session)
        if keys.count_secrets_keys(backend.config.keys.path) > 1:
            return False
        keys.add_secrets_key(backend.config.keys.path)
        return True


def finish_rotation(backend: Backend) -> Rotation:
    """Seal everything with the new key, then forget the others.

    Raises OperatorError, and forgets none, when something is opened by no key. Interrupted, it has
    done all of the first or nothing, and may be called again.
    """
    # Two transactions: no key is forgotten before what it opened is stored anew for good, and none
    # is added between the two.
    with backend.transaction() as guard:
        _take_keys(guard)
        with unhurried(guard), backend.transaction() as session, unhurried(session):
            resealed = sum(_reseal(backend, session, column) for column in SEALED)
        return Rotation(resealed, keys.drop_old_secrets_keys(backend.config.keys.path))


def try_samples(session: Session, opener: keys.Keys) -> dict[str, bool]:
    """Whether these keys open what is sealed: of each column the oldest and the newest value, by
    the contexts."""
    hold_keys(session)
    opens = {}
    for column in SEALED:
        table = column.of.class_
        for order in (table.id, table.id.desc()):
            row = session.scalar(
                select(table).where(column.of.is_not(None)).order_by(order).limit(1)
            )
            if row:
                context = column.context(row)
                opens[context] = opener.opens(getattr(row, column.of.key), context)
    return opens


def _take_keys(session: Session) -> None:
    """Wait for all who hold the keys, and let nobody have them until this transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))


def _reseal(backend: Backend, session: Session, column: Column) -> int:
    table = column.of.class_
    rows = session.scalars(select(table).where(column.of.is_not(None)).with_for_update(of=table))
    resealed = 0
    for row in rows:
        sealed, context = getattr(row, column.of.key), column.context(row)
        if not backend.keys.is_newest(sealed, context):
            plain = backend.keys.unseal(sealed, context)
            setattr(row, column.of.key, backend.keys.seal(plain, context))
            resealed += 1
    return resealed
