"""A job's logs, as bytes: append, read a range, seal.

A log that grows lives in Redis, where every web process can read it, and in the spool file of
the build host that writes it. A finished one is sealed: moved to storage with its length and
digest, for ever the same. Readers see one kind of log and never learn where it was.

Promises: bytes come out as they went in; a Redis that is wiped or away while a log grows loses
nothing, because the writer puts the spool back. Knows nothing of manifests, VMs or HTTP.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from buildsrht.models import Log
from buildsrht.storage import Storage

CHUNK = 256 * 1024
# Nothing in Redis outlives its use by more than this, whatever else goes wrong.
LIVE_SECONDS = 7 * 86400
# The first half of PostgreSQL's advisory lock on the logs of one job; the second is its id.
SEAL_LOCK = 0x6C6F67


class LogName(NamedTuple):
    """One log of a job: a task's, or the setup log, whose `task_id` is None."""

    job_id: int
    task_id: int | None

    @property
    def live_key(self) -> str:
        return f"buildsrht:log:{self.job_id}:{self.task_id or 'setup'}"

    @property
    def storage_key(self) -> str:
        return f"logs/{self.job_id}/{self.task_id or 'setup'}"


@dataclass(frozen=True)
class LogView:
    """A log as it is at one moment. A sealed one has a digest, and will never change again."""

    size: int
    sha256: bytes | None
    read: Callable[[int, int], Iterator[bytes]]

    @property
    def sealed(self) -> bool:
        return self.sha256 is not None


class Logs:
    def __init__(self, redis: Redis, storage: Storage):
        self._redis = redis
        self._storage = storage

    def view(self, session: Session, name: LogName) -> LogView:
        """The log now; one that nobody has written yet is empty and not sealed."""
        sealed = _sealed(session, name)
        if not sealed:
            live = self.live_view(name)
            # Sealing adds the row before it drops the live bytes. So whoever asks again misses
            # neither; and a log that was sealed long ago is read without Redis.
            sealed = _sealed(session, name)
        if not sealed:
            return live
        return LogView(
            sealed.size,
            sealed.sha256,
            lambda start, end: self._storage.read(name.storage_key, start, end),
        )

    def live_view(self, name: LogName) -> LogView:
        """What Redis has of the log now: nothing, once it is sealed. For those who ask often."""
        size = self._redis.strlen(name.live_key)
        return LogView(size, None, lambda start, end: self._read_live(name, start, end))

    def _read_live(self, name: LogName, start: int, end: int) -> Iterator[bytes]:
        for offset in range(start, end, CHUNK):
            upto = min(offset + CHUNK, end)
            chunk = cast(bytes, self._redis.getrange(name.live_key, offset, upto - 1))
            if len(chunk) < upto - offset:
                # Sealed while we were reading: the same bytes are in storage by now.
                yield from self._storage.read(name.storage_key, offset, end)
                return
            yield chunk

    def append(self, name: LogName, data: bytes) -> int:
        """Add to the live log; returns its length afterwards."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.append(name.live_key, data)
            pipe.expire(name.live_key, LIVE_SECONDS)
            return int(pipe.execute()[0])

    def replace(self, name: LogName, spool: Path) -> None:
        """Make the live log what the spool holds."""
        self._redis.set(name.live_key, spool.read_bytes(), ex=LIVE_SECONDS)

    def seal(self, session: Session, name: LogName, chunks: Iterator[bytes]) -> None:
        """Put the finished log into storage and remember its length and digest.

        The caller commits, and only then calls `drop_live`. A log that is sealed stays as it is:
        of a build host and a janitor that gave it up, the first one to come here decides.
        """
        session.execute(select(func.pg_advisory_xact_lock(SEAL_LOCK, name.job_id)))
        if _sealed(session, name):
            return
        stored = self._storage.put(name.storage_key, chunks)
        session.execute(
            insert(Log).values(
                job_id=name.job_id, task_id=name.task_id, size=stored.size, sha256=stored.sha256
            )
        )

    def live_chunks(self, name: LogName) -> Iterator[bytes]:
        """Whatever Redis still has, for sealing the log of a build host that is gone."""
        yield cast(bytes, self._redis.get(name.live_key) or b"")

    def drop_live(self, name: LogName) -> None:
        with contextlib.suppress(RedisError):
            self._redis.delete(name.live_key)


def _sealed(session: Session, name: LogName) -> Log | None:
    return session.scalar(
        select(Log).where(Log.job_id == name.job_id, Log.task_id.is_not_distinct_from(name.task_id))
    )


class LogWriter:
    """Writes one log: to its spool file first, then to the live readers.

    Bytes are acknowledged once they are in the spool. Redis may be away for a while: what it
    missed is sent with the next bytes that it takes.
    """

    def __init__(self, logs: Logs, name: LogName, spool: Path):
        self._logs = logs
        self.name = name
        self.spool = spool
        self._file = spool.open("ab", buffering=0)
        self.size = self._file.tell()

    def write(self, data: bytes) -> None:
        if not data:
            return
        rest = memoryview(data)
        while rest:
            # A disk that is nearly full takes a part and refuses the next.
            written = self._file.write(rest) or 0
            self.size += written
            rest = rest[written:]
        with contextlib.suppress(RedisError):
            if self._logs.append(self.name, data) != self.size:
                self._logs.replace(self.name, self.spool)

    def close(self) -> None:
        self._file.close()


def spool_chunks(spool: Path) -> Iterator[bytes]:
    with spool.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
