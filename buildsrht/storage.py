"""Where finished bytes live: artifacts, sealed logs and trees, by key, in a directory or a bucket.

Bytes stream in and out; nothing here holds a whole object. A key that exists is complete: a
write that fails leaves nothing to be seen. Knows nothing of jobs or of who may read what.
"""

import contextlib
import hashlib
import itertools
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore
from requests import RequestException

from buildsrht import bucket, config
from buildsrht.bucket import Bucket
from buildsrht.errors import BuildsError

__all__ = ["Storage", "StorageError", "Stored", "open_storage", "require_usable"]

log = logging.getLogger(__name__)

READ_CHUNK = 256 * 1024
# Parts are buffered before they are written, so this bounds the memory of one upload.
WRITE_PART = 5 * 1024 * 1024
PARALLEL_PARTS = 2
START_SECONDS = 2
LIBRARY_ERRORS = (BaseError, RequestException)


class StorageError(BuildsError):
    """The directory or the server of the bucket does not do what it must, for long enough."""


class Stored(NamedTuple):
    """What was written: bytes and their SHA-256."""

    size: int
    sha256: bytes


class Directory:
    """A directory that whoever uses this storage shares."""

    def __init__(self, path: Path):
        # Nobody else on this host may read what is stored here. A directory that the operator made
        # keeps the mode that they gave it.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self.reading = self.writing = LocalStore(path)

    def name_of(self, key: str) -> str:
        return str(self._path / key)

    def check(self, within: float | None = None) -> None:
        """It was made, so it is there."""

    def settle(self, key: str) -> None:
        """From now on a loss of power takes neither what was written nor its name."""
        written = self._path / key
        for path in (written, *written.parents):
            # Whatever is gone already was deleted meanwhile.
            with contextlib.suppress(FileNotFoundError):
                _sync(path)
            if path == self._path:
                return

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        found = obstore.get(self.reading, key, options={"range": (start, end)})
        return (bytes(chunk) for chunk in found.stream(min_chunk_size=READ_CHUNK))

    def discard_unfinished(self, prefix: str) -> None:
        # The library writes to `key#number` and renames; it hides these from listings.
        for unfinished in (self._path / prefix).glob("*#*"):
            unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_storage(settings: config.Storage) -> "Storage":
    """The bucket that the settings name, or else the directory. Asks no server.

    Raises OperatorError that names every option which is missing or cannot be used.
    """
    return Storage(Bucket(settings) if settings.url else Directory(settings.path))


def require_usable(settings: config.Storage) -> None:
    """Raise OperatorError, which names the option, if storage cannot be used as it is configured.
    A server that is away now is no reason not to start, nor to wait: it may be back before anybody
    needs it."""
    try:
        open_storage(settings).check(within=START_SECONDS)
    except StorageError as error:
        log.warning("storage does not answer: %s", error)


class Storage:
    """Each method raises StorageError, which names the key, when directory or server fail."""

    def __init__(self, place: Directory | Bucket):
        self._place = place

    def check(self, within: float | None = None) -> None:
        """Raises OperatorError if the bucket is missing or refuses us, StorageError if its server
        is away: after some tries, or if it has not answered the first `within` so many seconds.
        Safe before a fork, as nothing else here is."""
        with self._named(""):
            self._place.check(within)

    def put(self, key: str, chunks: Iterable[bytes]) -> Stored:
        """Keep `chunks` under `key`, replacing what was there. An error in `chunks` passes
        through and leaves the key as it was. They may not come from a storage: while the library
        takes them, it cannot be asked."""
        measured = _Measured(chunks)
        rest = iter(measured)
        head = _read(rest, WRITE_PART)
        with self._named(key):
            if measured.size < WRITE_PART:
                obstore.put(self._place.writing, key, head, use_multipart=False)
            else:
                self._put_in_parts(key, itertools.chain([head], rest))
            self._place.settle(key)
        return Stored(measured.size, measured.digest.digest())

    def _put_in_parts(self, key: str, chunks: Iterator[bytes]) -> None:
        obstore.put(
            self._place.writing,
            key,
            chunks,
            chunk_size=WRITE_PART,
            max_concurrency=PARALLEL_PARTS,
        )
        # A server that was killed when it had begun the upload was asked for another.
        try:
            self._place.discard_unfinished(key)
        except LIBRARY_ERRORS as error:
            log.warning("what %s may have left is for the bucket's own rule: %s", key, error)

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes `start` (inclusive) to `end` (exclusive), which must lie inside the object.

        Raises FileNotFoundError when there is no such key.
        """
        if start >= end:
            return iter(())
        with self._named(key):
            found = self._place.read(key, start, end)
        return self._named_throughout(key, found)

    def read_all(self, key: str) -> bytes:
        """All of a small object. Raises FileNotFoundError when there is no such key."""
        with self._named(key):
            return bytes(obstore.get(self._place.reading, key).bytes())

    def keys(self, prefix: str) -> list[str]:
        """Every key below `prefix`, which ends at a slash."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """The same, with how many bytes each has."""
        with self._named(prefix):
            pages = obstore.list(self._place.reading, prefix)
            return {item["path"]: item["size"] for page in pages for item in page}

    def discard_unfinished(self, prefix: str) -> None:
        """Remove what a writer that was killed had begun directly below `prefix`."""
        with self._named(prefix):
            self._place.discard_unfinished(prefix)

    def delete(self, key: str) -> None:
        """Forget `key`; one that is not there is no error."""
        with self._named(key), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._place.reading, key)

    def _named_throughout(self, key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        with self._named(key):
            yield from chunks

    @contextlib.contextmanager
    def _named(self, key: str) -> Iterator[None]:
        try:
            yield
        except LIBRARY_ERRORS as error:
            raise StorageError(f"{self._place.name_of(key)}: {bucket.said(error)}") from error
        except FileNotFoundError as error:
            # That there is no bucket says nothing of a key.
            if bucket.NO_BUCKET not in str(error):
                raise
            raise StorageError(f"{self._place.name_of(key)}: {bucket.said(error)}") from error


def _read(chunks: Iterator[bytes], size: int) -> bytes:
    """So many bytes, or a chunk more; fewer only if there are no more."""
    head: list[bytes] = []
    while sum(map(len, head)) < size and (chunk := next(chunks, None)) is not None:
        head.append(chunk)
    return b"".join(head)


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
