"""Take finished bytes from a directory to where they are kept now, and see that all arrived.

Sealed logs, artifacts and trees never change, so one that is there in full is there for good: what
was interrupted goes on where it was when it is done again. The directory keeps all it has.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.logs import Sealed
from buildsrht.models import Artifact, Log, Tree
from buildsrht.services import artifacts, trees
from buildsrht.storage import Storage
from buildsrht.unhurried import unhurried

CHUNK = 256 * 1024
ROWS = 1000


class Named(NamedTuple):
    """What a row says of its bytes."""

    key: str
    size: int
    sha256: bytes


def copy_missing(directory: Path, target: Storage) -> Iterator[str]:
    """Copy what `target` has not, or not in this size; yields each key when it is there.

    Files are read without the storage library: while it takes what it writes, it cannot be asked.
    """
    there = target.sizes("")
    for path in directory.rglob("*"):
        # A name with # is that of a write which has not ended.
        if "#" in path.name or not path.is_file():
            continue
        key = path.relative_to(directory).as_posix()
        try:
            if there.get(key) != path.stat().st_size:
                target.put(key, _chunks(path))
                yield key
        except FileNotFoundError:
            # Its time was over meanwhile.
            continue


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def verify(backend: Backend) -> Iterator[tuple[str, str | None]]:
    """Read everything that a row names; yields each key and what is wrong with it, if anything."""
    there = backend.storage.sizes("")
    with backend.transaction() as session, unhurried(session):
        for named in _named_by_rows(session):
            yield named.key, _problem(backend.storage, named, there.get(named.key))


def _problem(storage: Storage, named: Named, size: int | None) -> str | None:
    if size not in (None, named.size):
        return f"has {size} bytes, and the database says {named.size}"
    digest = hashlib.sha256()
    try:
        for chunk in storage.read(named.key, 0, named.size):
            digest.update(chunk)
    except FileNotFoundError:
        return "is missing"
    return None if digest.digest() == named.sha256 else "is not what the database says"


def _named_by_rows(session: Session) -> Iterator[Named]:
    sealed = select(Log).where(Log.removed.is_(None))
    for log in session.scalars(sealed.execution_options(yield_per=ROWS)):
        yield Named(Sealed.of(log).log, log.size, log.sha256)
    kept = select(Artifact).where(Artifact.deleted.is_(None))
    for artifact in session.scalars(kept.execution_options(yield_per=ROWS)):
        yield Named(artifacts.storage_key(artifact), artifact.size, artifact.sha256)
    submitted = select(Tree).where(Tree.deleted.is_(None))
    for tree in session.scalars(submitted.execution_options(yield_per=ROWS)):
        yield Named(trees.storage_key(tree), tree.size, tree.sha256)
