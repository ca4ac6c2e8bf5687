"""What users keep for their builds: ssh keys, PGP keys and files.

A secret is sealed before it reaches the database, bound to its owner and its uuid. It is opened
again in two places only: to seal it anew for somebody whom its owner shares it with, and for a run
that this build host has claimed. Nobody else gets to see it, administrators and the owner included,
and no exception carries any of it.

A secret that is shared is a copy with the same uuid, so that one manifest names it for both, and
without a name.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session, defer

from buildsrht import materials
from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, FieldError, NotFound
from buildsrht.manifest.texts import LONGEST_PATH, line
from buildsrht.models import Secret, SecretKind, User
from buildsrht.services import runs
from buildsrht.services.runs import Run
from buildsrht.services.sealing import hold_keys, secret_context
from buildsrht.services.users import ensure_user, lock_user, require_user

NAME_LENGTHS = range(3, 513)
MODE = re.compile(r"0?[0-7]{3}")
DEFAULT_MODE = 0o600
# What a file system takes.
FILE_NAME_BYTES = 255

READERS: dict[SecretKind, Callable[[bytes], bytes]] = {
    SecretKind.SSH_KEY: materials.read_ssh_key,
    SecretKind.PGP_KEY: materials.read_pgp_key,
    SecretKind.FILE: materials.read_file,
}


@dataclass(frozen=True)
class NewSecret:
    """What a user asks to have kept, as written. `path` and `mode` are for a file."""

    kind: SecretKind
    material: bytes = field(repr=False)
    name: str | None = None
    path: str | None = None
    mode: str | None = None


@dataclass(frozen=True)
class Material:
    """A secret that was opened for a build; `named` is how its manifest calls it."""

    named: str
    kind: SecretKind
    data: bytes = field(repr=False)
    path: str | None = None
    mode: int | None = None


@dataclass(frozen=True)
class Grant:
    """What a build gets of the secrets that it names, in that order, and why not the others."""

    materials: tuple[Material, ...] = ()
    warnings: tuple[str, ...] = ()


# --- rules ------------------------------------------------------------------------------------


def _read(new: NewSecret) -> tuple[Secret, bytes]:
    """The row, but for whose it is and what is sealed, and what that will be. Raises BadInput with
    every problem."""
    problems: list[FieldError] = []
    plain = b""
    for name, check in (("name", _check_name), ("path", _check_path), ("mode", _check_mode)):
        try:
            check(new)
        except ValueError as error:
            problems.append(FieldError(name, str(error)))
    try:
        plain = READERS[new.kind](new.material)
    except ValueError as error:
        problems.append(FieldError("material", str(error)))
    if problems:
        raise BadInput(problems)
    mode = int(new.mode, 8) if new.mode else DEFAULT_MODE
    return Secret(
        uuid=uuid4(),
        kind=new.kind,
        name=new.name,
        path=new.path,
        mode=mode if new.kind == SecretKind.FILE else None,
    ), plain


def _check_name(new: NewSecret) -> None:
    """A name must be one that a manifest can say, and that cannot be taken for a UUID."""
    if new.name is None:
        return
    line(new.name, shortest=NAME_LENGTHS[0], longest=NAME_LENGTHS[-1])
    if find_uuid(new.name):
        raise ValueError("may not look like a UUID")
    if new.kind == SecretKind.SSH_KEY:
        _check_file_name(new.name)


def _check_file_name(name: str) -> None:
    # A build finds its ssh key in a file of this name.
    if "/" in name:
        raise ValueError("of an ssh key may not contain /")
    if len(name.encode()) > FILE_NAME_BYTES:
        raise ValueError(f"of an ssh key may have {FILE_NAME_BYTES} bytes at most")


def _check_path(new: NewSecret) -> None:
    if new.kind != SecretKind.FILE:
        if new.path is not None:
            raise ValueError("is for a file only")
        return
    if new.path is None:
        raise ValueError("is needed for a file")
    line(new.path, longest=LONGEST_PATH)
    if new.path.startswith("~") and not new.path.startswith("~/"):
        raise ValueError("may begin with ~/, but not name somebody's home")
    if new.path.rpartition("/")[2] in ("", ".", "..", "~"):
        raise ValueError("must name a file")


def _check_mode(new: NewSecret) -> None:
    if new.mode is None:
        return
    if new.kind != SecretKind.FILE:
        raise ValueError("is for a file only")
    if not MODE.fullmatch(new.mode):
        raise ValueError("must be three octal digits, such as 600")


def find_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


# --- verbs ------------------------------------------------------------------------------------


def create_secret(backend: Backend, user: str, new: NewSecret) -> Secret:
    """Keep a secret for `user`, who is made if need be. Raises BadInput."""
    secret, plain = _read(new)
    with backend.transaction() as session:
        owner = ensure_user(session, user)
        lock_user(session, owner)
        if new.name is not None and _is_taken(session, owner, new.name):
            raise BadInput([FieldError("name", f"{new.name!r} is the name of another secret")])
        secret.owner_id = owner.id
        _seal(backend, session, secret, plain)
        session.add(secret)
        return secret


def list_secrets(session: Session, user: str) -> Sequence[Secret]:
    """All of a user's, in the order in which they got them, without what is sealed."""
    owner = require_user(session, user)
    return session.scalars(
        select(Secret)
        .where(Secret.owner_id == owner.id)
        .order_by(Secret.id)
        .options(defer(Secret.sealed, raiseload=True))
    ).all()


def share_secret(backend: Backend, user: str, uuid: UUID, receiver: str) -> Secret:
    """Give `receiver` a copy of a secret of `user`'s. Raises NotFound, or Conflict if they have it.

    It comes without a name. What a name means is its owner's to say: else anybody could slip a
    file of theirs into a build that names a secret which its owner does not have.
    """
    with backend.transaction() as session:
        hold_keys(session)
        original = _require_secret(session, require_user(session, user), uuid)
        owner = require_user(session, receiver)
        lock_user(session, owner)
        if find_secret(session, owner, uuid):
            raise Conflict(f"{owner.canonical_name} has the secret {uuid} already")
        copy = Secret(
            owner_id=owner.id,
            uuid=uuid,
            kind=original.kind,
            path=original.path,
            mode=original.mode,
            from_user_id=original.owner_id,
        )
        _seal(backend, session, copy, _open(backend, original))
        session.add(copy)
        return copy


def delete_secret(backend: Backend, user: str, uuid: UUID) -> Secret:
    """Forget a secret of `user`'s, and return what it was. Copies that others have stay, and so do
    builds that have it."""
    with backend.transaction() as session:
        owner = require_user(session, user)
        secret = _require_secret(session, owner, uuid)
        session.execute(delete(Secret).where(Secret.owner_id == owner.id, Secret.uuid == uuid))
        return secret


def find_secret(session: Session, owner: User, uuid: UUID) -> Secret | None:
    return session.scalar(select(Secret).where(Secret.owner_id == owner.id, Secret.uuid == uuid))


def grant_secrets(backend: Backend, run: Run, named: Sequence[str]) -> Grant:
    """Open what a manifest names, by UUID or by name, for a run that is still ours.

    Raises Conflict when it is not, and OperatorError when no key opens one of them.
    """
    if not named:
        return Grant()
    # One that is named again is the same file in the machine.
    named = list(dict.fromkeys(named))
    if not run.secrets:
        return Grant(warnings=("This job was submitted to run without secrets; it gets none.",))
    with backend.transaction() as session:
        runs.require_ours(session, run)
        hold_keys(session)
        found = _find_named(session, run.owner, named)
        return Grant(
            materials=tuple(
                _material(backend, name, found[name]) for name in named if name in found
            ),
            warnings=tuple(
                f"secret {name}: you have none of that name or UUID; skipped"
                for name in named
                if name not in found
            ),
        )


def _find_named(session: Session, user: str, named: Sequence[str]) -> dict[str, Secret]:
    uuids = [uuid for name in named if (uuid := find_uuid(name))]
    theirs = session.scalars(
        select(Secret)
        .join(User, User.id == Secret.owner_id)
        .where(User.name == user)
        .where(or_(Secret.uuid.in_(uuids), Secret.name.in_(named)))
    ).all()
    return named_among(theirs, named)


def named_among(secrets: Iterable[Secret], named: Sequence[str]) -> dict[str, Secret]:
    """Those of a user's secrets that a manifest calls so, by UUID or by name."""
    known = {key: secret for secret in secrets for key in (secret.uuid, secret.name)}
    meant = {name: find_uuid(name) or name for name in named}
    return {name: known[key] for name, key in meant.items() if key in known}


def _material(backend: Backend, named: str, secret: Secret) -> Material:
    return Material(named, secret.kind, _open(backend, secret), secret.path, secret.mode)


def _seal(backend: Backend, session: Session, secret: Secret, plain: bytes) -> None:
    hold_keys(session)
    secret.sealed = backend.keys.seal(plain, secret_context(secret))


def _open(backend: Backend, secret: Secret) -> bytes:
    return backend.keys.unseal(secret.sealed, secret_context(secret))


def _require_secret(session: Session, owner: User, uuid: UUID) -> Secret:
    secret = find_secret(session, owner, uuid)
    if secret is None:
        raise NotFound(f"{owner.canonical_name} has no secret {uuid}")
    return secret


def _is_taken(session: Session, owner: User, name: str) -> bool:
    taken = select(Secret.id).where(Secret.owner_id == owner.id, Secret.name == name)
    return session.scalar(taken) is not None
