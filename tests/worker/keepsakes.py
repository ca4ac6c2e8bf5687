"""A secret of each kind, for a job to use, and what to recognise each by."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pysequoia import CipherSuite, Profile, Tsk

from buildsrht.backend import Backend
from buildsrht.models import SecretKind, User
from buildsrht.services.secrets import NewSecret, create_secret


@dataclass(frozen=True)
class Keepsake:
    """`named` is how a manifest calls it; `marks` are pieces of it that are found nowhere else."""

    named: str
    marks: Sequence[bytes]
    digest: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Keepsakes:
    ssh_key: Keepsake
    pgp_key: Keepsake
    file: Keepsake
    # Somebody else's, which the owner names all the same.
    strangers: Keepsake

    @property
    def all(self) -> Sequence[Keepsake]:
        return self.ssh_key, self.pgp_key, self.file, self.strangers

    @property
    def marks(self) -> list[bytes]:
        return [mark for keepsake in self.all for mark in keepsake.marks]


def make_keepsakes(backend: Backend, owner: User) -> Keepsakes:
    """The ssh key is named by its name, the others by their UUIDs."""
    return Keepsakes(
        ssh_key=_keep_ssh_key(backend, owner.name),
        pgp_key=_keep_pgp_key(backend, owner.name),
        file=_keep_file(backend, owner.name),
        strangers=_keep_file(backend, "somebody-else"),
    )


def _keep_ssh_key(backend: Backend, user: str) -> Keepsake:
    name = f"deploy key {token_hex(4)}"
    data = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    create_secret(backend, user, NewSecret(SecretKind.SSH_KEY, data, name=name))
    return Keepsake(name, _lines(data), digest=hashlib.sha256(data).hexdigest())


def _keep_pgp_key(backend: Backend, user: str) -> Keepsake:
    # The gpg of older releases knows no newer form.
    key = Tsk.generate(
        "Owner <owner@example.org>", cipher_suite=CipherSuite.Cv25519, profile=Profile.RFC4880
    )
    data = str(key).encode()
    secret = create_secret(backend, user, NewSecret(SecretKind.PGP_KEY, data))
    fingerprint = key.extract_certificate().fingerprint.upper()
    return Keepsake(str(secret.uuid), _lines(data), fingerprint=fingerprint)


def _keep_file(backend: Backend, user: str) -> Keepsake:
    data = f"password = {token_hex(16)}\n".encode()
    new = NewSecret(SecretKind.FILE, data, path="~/config/deep/file", mode="640")
    secret = create_secret(backend, user, new)
    marks = [data.split()[-1]]
    return Keepsake(str(secret.uuid), marks, digest=hashlib.sha256(data).hexdigest())


def _lines(armoured: bytes) -> list[bytes]:
    """Those with key material: not the frame, and not what is the same in every key."""
    return [line for line in armoured.splitlines()[2:-1] if len(line) > 60 and b":" not in line]
