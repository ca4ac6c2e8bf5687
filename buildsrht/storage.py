"""Where finished bytes live: artifacts and sealed logs, by key, in a directory.

Bytes stream in and out; nothing here holds a whole object. A key that exists is complete: a
write that fails leaves nothing to be seen. Knows nothing of jobs or of who may read what.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError as StorageError
from obstore.store import LocalStore

__all__ = ["Storage", "StorageError", "Stored"]

READ_CHUNK = 256 * 1024
# Parts are buffered before they are written, so this bounds the memory of one upload.
WRITE_PART = 5 * 1024 * 1024
PARALLEL_PARTS = 2


class Stored(NamedTuple):
    """What was written: bytes and their SHA-256."""

    size: int
    sha256: bytes


class Storage:
    def __init__(self, path: Path):
        # Nobody else on this host may read what is stored here. A directory that the operator made
        # keeps the mode that they gave it.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._store = LocalStore(path)

    def put(self, key: str, chunks: Iterable[bytes]) -> Stored:
        """Keep `chunks` under `key`, replacing what was there. An error in `chunks` passes
        through and leaves the key as it was."""
        measured = _Measured(chunks)
        obstore.put(
            self._store,
            key,
            iter(measured),
            chunk_size=WRITE_PART,
            max_concurrency=PARALLEL_PARTS,
        )
        return Stored(measured.size, measured.digest.digest())

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes `start` (inclusive) to `end` (exclusive), which must lie inside the object.

        Raises FileNotFoundError when there is no such key.
        """
        if start >= end:
            return iter(())
        found = obstore.get(self._store, key, options={"range": (start, end)})
        return (bytes(chunk) for chunk in found.stream(min_chunk_size=READ_CHUNK))

    def read_all(self, key: str) -> bytes:
        """All of a small object. Raises FileNotFoundError when there is no such key."""
        return bytes(obstore.get(self._store, key).bytes())

    def keys(self, prefix: str) -> list[str]:
        """Every key below `prefix`, which ends at a slash."""
        return [item["path"] for page in obstore.list(self._store, prefix) for item in page]

    def discard_unfinished(self, prefix: str) -> None:
        """Remove what a writer that was killed had begun directly below `prefix`."""
        # The library writes to `key#number` and renames; it hides these from listings.
        for unfinished in (self._path / prefix).glob("*#*"):
            unfinished.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        """Forget `key`; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, key)


class _Measured:
    """Passes chunks on and knows their number and digest afterwards."""

    def __init__(self, chunks: Iterable[bytes]):
        self._chunks = chunks
        self.size = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            self.digest.update(chunk)
            yield chunk
