"""Bytes on the disk that nobody reads or changes without the key: one stream, compressed and
encrypted piece by piece, so that it may be larger than any memory.

    header   "KEPT", one byte version, 32 bytes salt
    piece    four bytes length (big endian), and so many bytes of AES-256-GCM
    ...

The key of a stream is derived from the given one, the salt and the stream's name (HKDF, SHA-256),
so no two streams ever have the same. A piece's nonce is its number and whether it is the last:
pieces that are missing, twice, in another order or another stream's do not open, and neither does a
stream that was cut.

Knows nothing of what is in it, nor where the key comes from.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.errors import RunnerError

MAGIC = b"KEPT\x01"
KEY_BYTES = 32
SALT_BYTES = 32
PIECE = 2**20
# What a piece may grow to when it does not get smaller by being compressed.
PIECE_LIMIT = PIECE + PIECE // 64
LENGTH = struct.Struct(">I")
# Memory gets to a third by it. More effort makes it a tenth smaller and takes three times as long.
EFFORT = 1


class Spoilt(RunnerError):
    """A stream that was written to, cut, or encrypted with another key."""


def new_salt() -> bytes:
    return os.urandom(SALT_BYTES)


def new_key() -> bytes:
    return os.urandom(KEY_BYTES)


def lock_up(
    read: Callable[[int], bytes], target: BinaryIO, key: bytes, salt: bytes, name: str
) -> None:
    """Write everything that `read` gives, until it gives nothing, to `target`."""
    cipher = _cipher(key, salt, name)
    target.write(MAGIC + salt)
    number, piece = 0, _read_piece(read)
    while True:
        following = _read_piece(read)
        closed = cipher.encrypt(_nonce(number, not following), zlib.compress(piece, EFFORT), None)
        target.write(LENGTH.pack(len(closed)) + closed)
        if not following:
            return
        number, piece = number + 1, following


def _read_piece(read: Callable[[int], bytes]) -> bytes:
    """As much as goes into a piece; a pipe hands out little at a time."""
    piece = bytearray()
    while len(piece) < PIECE and (data := read(PIECE - len(piece))):
        piece += data
    return bytes(piece)


def unlock(source: BinaryIO, key: bytes, name: str) -> Iterator[bytes]:
    """What was locked up, piece by piece. Raises Spoilt, at the first piece that is not as it
    was."""
    salt = salt_of(source)
    cipher = _cipher(key, salt, name)
    for number, (closed, is_last) in enumerate(_pieces(source)):
        try:
            yield zlib.decompress(cipher.decrypt(_nonce(number, is_last), closed, None))
        except InvalidTag as error:
            raise Spoilt(f"{source.name}: piece {number} is not as it was written") from error


def salt_of(source: BinaryIO) -> bytes:
    """Of a stream that is at its beginning."""
    header = source.read(len(MAGIC) + SALT_BYTES)
    if len(header) < len(MAGIC) + SALT_BYTES or not header.startswith(MAGIC):
        raise Spoilt(f"{source.name}: is nothing that was locked up here")
    return header[len(MAGIC) :]


def _pieces(source: BinaryIO) -> Iterable[tuple[bytes, bool]]:
    closed = _next_piece(source)
    if closed is None:
        raise Spoilt(f"{source.name}: was cut")
    while closed is not None:
        following = _next_piece(source)
        yield closed, following is None
        closed = following


def _next_piece(source: BinaryIO) -> bytes | None:
    head = source.read(LENGTH.size)
    if not head:
        return None
    length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else 0
    closed = source.read(length) if length <= PIECE_LIMIT else b""
    if not closed or len(closed) < length:
        raise Spoilt(f"{source.name}: was cut")
    return closed


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, name.encode()).derive(key))


def _nonce(number: int, is_last: bool) -> bytes:
    return struct.pack(">xxxQ?", number, is_last)
