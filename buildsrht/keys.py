"""The keys of this service, in a directory that is not the database.

    secrets        one key a line; the first encrypts, any of them decrypts
    webhooks       the Ed25519 key that signs webhooks, PEM
    ssh_host_key   the ssh gateway's own, in OpenSSH's format

`make_missing()` makes them, once for all machines of a service. They are read when they are
needed, so what needs none works without any. Those that encrypt are read each time: they may be
turned over while processes run, and what one seals with a key that is gone is lost.

What is sealed is bound to a context, such as whose it is: bytes that somebody moved to another row
of the database do not open there. Knows nothing of what is sealed or signed.
"""

import base64
import os
import secrets
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from buildsrht.errors import OperatorError

SECRETS = "secrets"
WEBHOOKS = "webhooks"
SSH_HOST_KEY = "ssh_host_key"
KEY_BYTES = 32
NONCE_BYTES = 12
# Says how the rest is to be read, should that ever change.
VERSION = b"\x01"


class Keys:
    def __init__(self, directory: Path):
        self.directory = directory

    @property
    def ssh_host_key(self) -> Path:
        return self.directory / SSH_HOST_KEY

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypt with the first key (AES-256-GCM)."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + nonce + self._secrets[0].encrypt(nonce, plain, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """What was sealed in that very context. Raises OperatorError if no key of ours opens it."""
        version, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        for key in self._secrets if version == VERSION else ():
            try:
                return key.decrypt(nonce, rest, context.encode())
            except InvalidTag:
                continue
        raise OperatorError(f"{self.directory / SECRETS}: no key there opens {context}")

    def opens(self, sealed: bytes, context: str) -> bool:
        """Whether one of the keys opens it. Raises OperatorError if they cannot be read."""
        held = self._secrets
        rest = sealed[len(VERSION) :]
        return sealed[: len(VERSION)] == VERSION and any(_opens(key, rest, context) for key in held)

    def is_newest(self, sealed: bytes, context: str) -> bool:
        """Whether the first key opens it, so that the others are not needed for it."""
        try:
            nonce, rest = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
            self._secrets[0].decrypt(nonce, rest, context.encode())
        except InvalidTag:
            return False
        return True

    def sign(self, message: bytes) -> bytes:
        return self._webhooks.sign(message)

    @property
    def public_key(self) -> str:
        """What receivers verify our webhooks with: 32 bytes in base64."""
        raw = self._webhooks.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    @property
    def _secrets(self) -> list[AESGCM]:
        path = self.directory / SECRETS
        try:
            keys = [base64.b64decode(line, validate=True) for line in _read(path).split()]
            if not keys or any(len(key) != KEY_BYTES for key in keys):
                raise ValueError
        except ValueError:
            raise OperatorError(f"{path}: expected keys of {KEY_BYTES} bytes in base64") from None
        return [AESGCM(key) for key in keys]

    @cached_property
    def _webhooks(self) -> Ed25519PrivateKey:
        path = self.directory / WEBHOOKS
        try:
            key = load_pem_private_key(_read(path), password=None)
        except ValueError:
            raise OperatorError(f"{path}: expected an Ed25519 key in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise OperatorError(f"{path}: expected an Ed25519 key, not one of another kind")
        return key


def _opens(key: AESGCM, sealed: bytes, context: str) -> bool:
    try:
        key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
    except InvalidTag:
        return False
    return True


def make_missing(directory: Path) -> list[Path]:
    """Make every key that is not there. Returns their files."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    makers = {SECRETS: _new_secrets_key, WEBHOOKS: _new_pem, SSH_HOST_KEY: _new_openssh}
    return [directory / name for name, make in makers.items() if _create(directory / name, make())]


def add_secrets_key(directory: Path) -> None:
    """Put a new key before the others: it encrypts from now on, they still decrypt."""
    _replace(directory / SECRETS, _new_secrets_key() + _read(directory / SECRETS))


def count_secrets_keys(directory: Path) -> int:
    return len(_read(directory / SECRETS).split())


def drop_old_secrets_keys(directory: Path) -> int:
    """Forget every key but the first. Returns how many."""
    first, *others = _read(directory / SECRETS).splitlines(keepends=True)
    _replace(directory / SECRETS, first)
    # Of whoever was killed while writing.
    for leftover in directory.glob(f".{SECRETS}-*"):
        leftover.unlink(missing_ok=True)
    return len(others)


def _new_secrets_key() -> bytes:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"


def _new_pem() -> bytes:
    return _new_private_key(PrivateFormat.PKCS8)


def _new_openssh() -> bytes:
    return _new_private_key(PrivateFormat.OpenSSH)


def _new_private_key(form: PrivateFormat) -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, NoEncryption())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        remedy = "`buildsrht keys init` makes it"
        raise OperatorError(f"{path}: {error.strerror}; {remedy}") from error


def _create(path: Path, content: bytes) -> bool:
    """Whole or not at all, and never in place of one that is there."""
    aside = _write_aside(path, content)
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    finally:
        aside.unlink()
    return True


def _replace(path: Path, content: bytes) -> None:
    os.replace(_write_aside(path, content), path)


def _write_aside(path: Path, content: bytes) -> Path:
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return aside
