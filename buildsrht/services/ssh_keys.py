"""The public keys by which the ssh gateway knows its users.

A key is one line as in `~/.ssh/id_ed25519.pub`. It is kept without its comment, in the one form
that its bytes have, so that the same key is found however it was written; and it belongs to one
user, because it is all that says who connects.
"""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import asyncssh
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError, Forbidden, NotFound
from buildsrht.models import SshKey, User
from buildsrht.services.users import ensure_user, insist_on_active, is_suspended

KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
RSA_BITS = range(2048, 16385)
COMMENT_CHARACTERS = 255
# More than the longest key and comment that are accepted.
LINE_CHARACTERS = 8192


class PublicKey(NamedTuple):
    """A key as it is kept: `text` is its kind and its bytes in base64."""

    text: str
    fingerprint: str
    comment: str | None


# --- rules ------------------------------------------------------------------------------------


def read_key(line: str) -> PublicKey:
    """Understand what a user says is their public key. Raises BadInput."""
    line = line.strip()
    if "PRIVATE KEY" in line:
        _refuse("is a private key: it belongs nowhere but on your machine; give its .pub file")
    if not line or len(line.splitlines()) > 1 or len(line) > LINE_CHARACTERS:
        _refuse("must be one line, as in a .pub file")
    kind, data, comment = (*line.split(maxsplit=2), "", "")[:3]
    if kind not in KINDS:
        _refuse(_why_not(kind, line))
    key = _decode(kind, data)
    return PublicKey(text_of(key), key.get_fingerprint(), _check_comment(comment))


def text_of(key: asyncssh.SSHKey) -> str:
    """A key in the form in which it is kept."""
    kind, data = key.export_public_key().decode("ascii").split()[:2]
    return f"{kind} {data}"


def _why_not(kind: str, line: str) -> str:
    known = ", ".join(KINDS)
    if "-cert-v01@" in kind:
        return "is a certificate; give the public key that it certifies"
    if any(f" {known_kind} " in line for known_kind in KINDS):
        return 'may have no options such as command="..." before it'
    return f"must begin with one of {known}"


def _decode(kind: str, data: str) -> asyncssh.SSHKey:
    try:
        key = asyncssh.import_public_key(f"{kind} {data}")
    except (asyncssh.KeyImportError, ValueError) as error:
        raise BadInput([FieldError("key", f"is damaged: {error}")]) from error
    if isinstance(key.pyca_key, RSAPublicKey) and key.pyca_key.key_size not in RSA_BITS:
        _refuse(f"must have {RSA_BITS[0]} to {RSA_BITS[-1]} bits, got {key.pyca_key.key_size}")
    return key


def _check_comment(comment: str) -> str | None:
    if len(comment) > COMMENT_CHARACTERS or not comment.isprintable():
        _refuse(f"may have a comment of at most {COMMENT_CHARACTERS} printable characters")
    return comment or None


def _refuse(reason: str) -> NoReturn:
    raise BadInput([FieldError("key", reason)])


# --- verbs ------------------------------------------------------------------------------------


def add_key(backend: Backend, user: str, line: str) -> SshKey:
    """Let whoever has the private half of this key in as `user`, who is created if need be."""
    public = read_key(line)
    try:
        with backend.transaction() as session:
            key = SshKey(
                user_id=ensure_user(session, user).id,
                key=public.text,
                fingerprint=public.fingerprint,
                comment=public.comment,
            )
            session.add(key)
            session.flush()
            session.refresh(key)
            return key
    except IntegrityError:
        # A key is unique over all users; not which one has it is what others may know.
        _refuse(f"{public.fingerprint} is registered already")


def list_keys(session: Session, user: str | None = None) -> Sequence[SshKey]:
    """All keys, or those of one user, in the order in which they were added."""
    keys = select(SshKey).order_by(SshKey.id)
    if user is not None:
        keys = keys.where(SshKey.user.has(name=user))
    return session.scalars(keys).all()


def remove_key(backend: Backend, fingerprint: str) -> None:
    """From now on nobody gets in by this key, nor begins anything new; what was begun goes on."""
    with backend.transaction() as session:
        removed = session.execute(
            delete(SshKey).where(SshKey.fingerprint == fingerprint).returning(SshKey.id)
        )
        if removed.first() is None:
            raise NotFound(f"there is no ssh key {fingerprint}")


def remove_own_key(backend: Backend, user: User, key_id: int) -> SshKey:
    """The same for a key of `user`'s, by the number that lists give it. Returns what it was."""
    with backend.transaction() as session:
        key = session.scalar(select(SshKey).where(SshKey.id == key_id, SshKey.user_id == user.id))
        if key is None:
            raise NotFound(f"you have no ssh key {key_id}")
        session.execute(delete(SshKey).where(SshKey.id == key_id))
        return key


def find_by_fingerprint(session: Session, fingerprint: str) -> SshKey | None:
    return session.scalar(select(SshKey).where(SshKey.fingerprint == fingerprint))


def find_key(session: Session, key: asyncssh.SSHKey) -> SshKey | None:
    """The registered key that this one is, with its user; none of one who is suspended."""
    found = session.scalar(select(SshKey).where(SshKey.key == text_of(key)))
    return None if found is None or is_suspended(found.user) else found


def require_key(backend: Backend, key_id: int) -> None:
    """For whoever came in by a key a while ago: that it still lets them in. Raises Forbidden."""
    with backend.transaction() as session:
        key = session.get(SshKey, key_id)
        if key is None:
            raise Forbidden("the key that you came in by is no longer registered")
        insist_on_active(key.user)


def note_use(backend: Backend, key_id: int) -> None:
    with backend.transaction() as session:
        session.execute(update(SshKey).where(SshKey.id == key_id).values(last_used=func.now()))
