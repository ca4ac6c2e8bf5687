"""What users keep as secrets, as bytes: which are accepted, and in what form they are kept.

Each function takes what was uploaded and returns what a build will be given, or raises ValueError
with the reason. A reason continues a sentence that began with `material` and never quotes any of
it. Nothing here runs a program on it, and nothing is written anywhere.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
from pysequoia import Cert
from pysequoia.packet import PacketPile, Tag

# Of a file, and more than any ssh key has.
MOST_BYTES = 16_384
# A PGP key carries the signatures of others.
MOST_PGP_BYTES = 65_536
OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
PUBLIC = (b"ssh-", b"ecdsa-", b"sk-")
SSH_KINDS = (Ed25519PrivateKey, EllipticCurvePrivateKey, RSAPrivateKey)


def read_ssh_key(data: bytes) -> bytes:
    """A private key that ssh can use without asking for a passphrase."""
    data = _as_text(_within(data, MOST_BYTES))
    if data.startswith(PUBLIC):
        raise ValueError("is a public key; what a build needs is its private half")
    load = load_ssh_private_key if OPENSSH in data else load_pem_private_key
    try:
        key = load(data, password=None)
    # That is how cryptography says that a passphrase is missing.
    except TypeError:
        raise ValueError(
            "is protected by a passphrase, which no build can type; "
            "remove it from a copy of the key with `ssh-keygen -p`"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not an ssh private key, or a damaged one") from None
    if not isinstance(key, SSH_KINDS):
        raise ValueError("is a private key, but none that ssh can use")
    return data


def read_pgp_key(data: bytes) -> bytes:
    """A key ring, ASCII-armoured or binary, that has at least one private key. One that is
    protected by a passphrase will do: gpg can be given that in a file."""
    _within(data, MOST_PGP_BYTES)
    try:
        # This takes nothing but keys. What follows would unpack anything that is compressed first,
        # and a few thousand bytes may become all of the memory.
        Cert.split_bytes(data)
        has_private_key = any(packet.tag == Tag.SecretKey for packet in PacketPile.from_bytes(data))
    # What pysequoia raises for anything that it cannot parse.
    except RuntimeError:
        raise ValueError("is not a PGP key, or a damaged one") from None
    if not has_private_key:
        raise ValueError("has no private PGP key; `gpg --export-secret-keys` prints one")
    return data


def read_file(data: bytes) -> bytes:
    """Text ends as text does; anything else is kept as it is."""
    return _as_text(_within(data, MOST_BYTES))


def _within(data: bytes, most: int) -> bytes:
    if not data:
        raise ValueError("is empty")
    if len(data) > most:
        raise ValueError(f"has more than {most:,} bytes")
    return data


def _as_text(data: bytes) -> bytes:
    """With line feeds alone, and one at the end: forms on web pages leave neither."""
    if not _is_text(data):
        return data
    return data.replace(b"\r\n", b"\n").removesuffix(b"\n") + b"\n"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data
