"""A job's logs, as bytes: append, read a range, seal.

A log that grows lives in Redis, where every web process can read it, and in the spool file of
the build host that writes it. A finished one is sealed: moved to storage with its length and
digest, for ever the same. Readers see one kind of log and never learn where it was.

Promises: bytes come out as they went in; a Redis that is wiped or away while a log grows loses
nothing, because the writer puts the spool back. Knows nothing of manifests, VMs or HTTP.

Beside each log, wherever it is, are its marks (buildsrht.marks), by which lines are found and
dated. They are a help only: a log that has none, because it is older, is read all the same.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, cast

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session

from buildsrht.errors import Gone
from buildsrht.marks import Marker, Marks
from buildsrht.models import Job, JobStatus, Log
from buildsrht.storage import Storage
from buildsrht.unhurried import unhurried

CHUNK = 256 * 1024
# What the marks of a spool are called after it.
MARKS = ".marks"
# Nothing in Redis outlives its use by more than this, whatever else goes wrong.
LIVE_SECONDS = 7 * 86400
# No attempt at a job that is over adds to its live logs. By then each has heard of that.
OVER = 2**31 - 1
OVER_SECONDS = 3600
# A run that was given up may still be there, and not know. Of what it sends nothing is taken once a
# later attempt has written something.
FENCED = """
local attempt, seconds = tonumber(ARGV[1]), ARGV[2]
local newest = tonumber(redis.call("GET", KEYS[3]) or 0)
if attempt < newest then
    return 1
end
if attempt > newest then
    redis.call("SET", KEYS[3], attempt, "EX", seconds)
end
"""
# At once, for those who read meanwhile.
APPEND = (
    FENCED
    + """
local offset, data, mark = unpack(ARGV, 3)
if redis.call("STRLEN", KEYS[1]) ~= tonumber(offset) then
    return 0
end
redis.call("APPEND", KEYS[1], data)
redis.call("EXPIRE", KEYS[1], seconds)
if mark ~= "" then
    redis.call("APPEND", KEYS[2], mark)
    redis.call("EXPIRE", KEYS[2], seconds)
end
return 1
"""
)
REPLACE = (
    FENCED
    + """
redis.call("SET", KEYS[1], ARGV[3], "EX", seconds)
redis.call("SET", KEYS[2], ARGV[4], "EX", seconds)
return 1
"""
)
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
    def live_marks_key(self) -> str:
        return f"{self.live_key}:marks"

    @property
    def live_keys(self) -> list[str]:
        """The log, its marks, and which attempt at its job writes to it."""
        return [self.live_key, self.live_marks_key, self.fence_key]

    @property
    def fence_key(self) -> str:
        return f"buildsrht:attempt:{self.job_id}"

    @property
    def home(self) -> str:
        """Where all is that storage has of it: keys that begin so."""
        return f"logs/{self.job_id}/{self.task_id or 'setup'}"

    @property
    def earlier_key(self) -> str:
        """Where what earlier attempts wrote is, until the log is sealed."""
        return f"{self.home}.earlier"

    @property
    def earlier_marks_key(self) -> str:
        return f"{self.earlier_key}.marks"


class Sealed(NamedTuple):
    """The keys of a sealed log and of its marks.

    Each process that seals has keys of its own: one that was given up may come back in the middle
    of an upload, and must not write over what somebody else has sealed. The row says whose counts.
    """

    log: str
    marks: str

    @classmethod
    def by(cls, writer: str | None, name: LogName) -> "Sealed":
        # Logs that are older than this have none.
        key = f"{name.home}-{writer}" if writer else name.home
        return cls(key, f"{key}.marks")

    @classmethod
    def of(cls, row: Log) -> "Sealed":
        return cls.by(row.writer, LogName(row.job_id, row.task_id))


@dataclass(frozen=True)
class LogView:
    """A log as it is at one moment. A sealed one has a digest, and will never change again; how
    many lines it has is known as well, unless it is older than marks. Of one that was `removed` the
    rest is still known, and reading raises Gone."""

    size: int
    sha256: bytes | None
    read: Callable[[int, int], Iterator[bytes]]
    marks: Callable[[], Marks]
    lines: int | None = None
    removed: datetime | None = None

    @property
    def sealed(self) -> bool:
        return self.sha256 is not None


class Logs:
    def __init__(self, redis: Redis, storage: Storage, engine: Engine):
        self._redis = redis
        self._storage = storage
        self._engine = engine
        self._writer = secrets.token_hex(4)
        self._append = redis.register_script(APPEND)
        self._replace = redis.register_script(REPLACE)

    def view(self, session: Session, name: LogName) -> LogView:
        """The log now; one that nobody has written yet is empty and not sealed."""
        return self.views(session, [name])[0]

    def views(self, session: Session, names: Sequence[LogName]) -> list[LogView]:
        """The same of several logs of a job, at the price of one."""
        sealed = _sealed(session, names)
        if len(sealed) == len(names):
            return [self._sealed_view(sealed[name]) for name in names]
        live = {name: self.live_view(name) for name in names if name not in sealed}
        # Sealing adds the row before it drops the live bytes. So whoever asks again misses
        # neither; and a log that was sealed long ago is read without Redis.
        sealed = _sealed(session, names)
        return [self._sealed_view(sealed[name]) if name in sealed else live[name] for name in names]

    def _sealed_view(self, sealed: Log) -> LogView:
        keys = Sealed.of(sealed)

        def read(start: int, end: int) -> Iterator[bytes]:
            if sealed.removed:
                raise Gone(f"the logs of this job were removed on {sealed.removed:%Y-%m-%d}")
            return self._storage.read(keys.log, start, end)

        return LogView(
            sealed.size,
            sealed.sha256,
            read,
            lambda: self._stored_marks(keys),
            sealed.lines,
            sealed.removed,
        )

    def _stored_marks(self, keys: Sealed) -> Marks:
        try:
            return Marks(self._storage.read_all(keys.marks))
        except FileNotFoundError:
            return Marks()

    def live_view(self, name: LogName) -> LogView:
        """What Redis has of the log now: nothing, once it is sealed. For those who ask often."""
        size = self._redis.strlen(name.live_key)
        return LogView(
            size,
            None,
            lambda start, end: self._read_live(name, start, end),
            lambda: Marks(self.live_marks(name)),
        )

    def _read_live(self, name: LogName, start: int, end: int) -> Iterator[bytes]:
        for offset in range(start, end, CHUNK):
            upto = min(offset + CHUNK, end)
            chunk = cast(bytes, self._redis.getrange(name.live_key, offset, upto - 1))
            if len(chunk) < upto - offset:
                # Sealed while we were reading: the same bytes are in storage by now.
                yield from self._read_sealed(name, offset, end)
                return
            yield chunk

    def _read_sealed(self, name: LogName, start: int, end: int) -> Iterator[bytes]:
        with Session(self._engine) as session:
            sealed = _sealed(session, [name])
        if name not in sealed:
            raise FileNotFoundError(f"{name.home}: Redis has lost it, and it is not sealed yet")
        return self._sealed_view(sealed[name]).read(start, end)

    def append(
        self, name: LogName, attempt: int, offset: int, data: bytes, mark: bytes = b""
    ) -> bool:
        """Add to the live log, and to its marks. False, and nothing is added, if the log does not
        end at this offset: nobody is to read anything at another place than it was written. From
        an attempt that is not the newest any more nothing is added either."""
        return bool(self._append(name.live_keys, [attempt, LIVE_SECONDS, offset, data, mark]))

    def replace(self, name: LogName, attempt: int, spool: Path) -> None:
        """Make the live log, and its marks, what the spool holds; not for an attempt that is not
        the newest any more."""
        held = [spool.read_bytes(), spool_marks(spool)]
        self._replace(name.live_keys, [attempt, LIVE_SECONDS, *held])

    def fence(self, name: LogName, attempt: int) -> None:
        """From now on no attempt before this one adds to the live logs of this job."""
        self._append(name.live_keys, [attempt, LIVE_SECONDS, -1, b"", b""])

    def keep_earlier(self, name: LogName, data: bytes, marks: bytes) -> None:
        """Keep what has been written so far for the next attempt, which goes on from there."""
        self._storage.put(name.earlier_marks_key, [marks])
        self._storage.put(name.earlier_key, [data])

    def earlier(self, name: LogName) -> tuple[bytes, bytes]:
        """What earlier attempts wrote, and its marks."""
        try:
            data = self._storage.read_all(name.earlier_key)
            return data, self._storage.read_all(name.earlier_marks_key)
        except FileNotFoundError:
            return b"", b""

    def since_first_attempt(self, name: LogName, data: bytes, marks: bytes) -> tuple[bytes, bytes]:
        """What an attempt has of the log; or what the ones before wrote, if it was lost before it
        had put that in front, or Redis was wiped."""
        earlier, earlier_marks = self.earlier(name)
        return (data, marks) if data.startswith(earlier) else (earlier, earlier_marks)

    def seal(
        self,
        session: Session,
        name: LogName,
        attempt: int,
        chunks: Iterator[bytes],
        marks: bytes = b"",
    ) -> bool:
        """Put the finished log into storage and remember its length, digest and lines.

        The caller commits, and only then calls `drop_live`. A log that is sealed stays as it is:
        of a build host and a janitor that gave it up, the first one to come here decides. Of a job
        that was deleted nothing is kept. False if the log is another attempt's by now, or will be.
        """
        # Until the caller commits the job cannot be deleted. The row is first, as it is for whoever
        # gives a job up and seals its logs then.
        row = session.execute(
            select(Job.attempt, Job.status)
            .where(Job.id == name.job_id)
            .with_for_update(read=True, key_share=True)
        ).one_or_none()
        session.execute(select(func.pg_advisory_xact_lock(SEAL_LOCK, name.job_id)))
        if row and (row.attempt != attempt or row.status == JobStatus.QUEUED):
            return False
        if row is None or _sealed(session, [name]):
            return True
        counted = _Counted(chunks)
        keys = Sealed.by(self._writer, name)
        with unhurried(session):
            stored = self._storage.put(keys.log, counted)
            self._storage.put(keys.marks, [marks])
        session.execute(
            insert(Log).values(
                job_id=name.job_id,
                task_id=name.task_id,
                size=stored.size,
                sha256=stored.sha256,
                lines=counted.lines,
                writer=self._writer,
            )
        )
        return True

    def live_chunks(self, name: LogName) -> Iterator[bytes]:
        """Whatever Redis still has, for sealing the log of a build host that is gone."""
        yield cast(bytes, self._redis.get(name.live_key) or b"")

    def live_marks(self, name: LogName) -> bytes:
        """The same of its marks."""
        return cast(bytes, self._redis.get(name.live_marks_key) or b"")

    def drop_live(self, name: LogName, attempt: int = 1) -> None:
        """What has been sealed is needed nowhere else. With the setup log the job is over: a run of
        it that was given up, and does not know, writes nothing any more that nobody would drop."""
        with contextlib.suppress(RedisError):
            if name.task_id is None:
                self._redis.set(name.fence_key, OVER, ex=OVER_SECONDS)
            self._redis.delete(name.live_key, name.live_marks_key)
        if attempt > 1:
            for key in (name.earlier_key, name.earlier_marks_key):
                self._storage.delete(key)


class _Counted:
    """Passes chunks on and knows the number of lines afterwards, the last unfinished one too."""

    def __init__(self, chunks: Iterable[bytes]):
        self._chunks = chunks
        self._ends = 0
        self._is_open = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._ends += chunk.count(b"\n")
            if chunk:
                self._is_open = not chunk.endswith(b"\n")
            yield chunk

    @property
    def lines(self) -> int:
        return self._ends + self._is_open


def _sealed(session: Session, names: Sequence[LogName]) -> dict[LogName, Log]:
    """Those of these logs, all of one job, that are sealed."""
    task_ids = [name.task_id for name in names if name.task_id is not None]
    wanted = Log.task_id.in_(task_ids)
    with_setup = wanted | Log.task_id.is_(None)
    rows = session.scalars(
        select(Log).where(
            Log.job_id == names[0].job_id, wanted if len(task_ids) == len(names) else with_setup
        )
    )
    return {LogName(row.job_id, row.task_id): row for row in rows}


class LogWriter:
    """Writes one log: to its spool file first, then to the live readers.

    Bytes are acknowledged once they are in the spool. Redis may be away for a while: what it
    missed is sent with the next bytes that it takes.
    """

    def __init__(self, logs: Logs, name: LogName, attempt: int, spool: Path):
        self._logs = logs
        self._attempt = attempt
        self.name = name
        self.spool = spool
        self._file = spool.open("ab", buffering=0)
        self.size = self._file.tell()
        self._marks = marks_of(spool).open("ab", buffering=0)
        written = sum(chunk.count(b"\n") for chunk in spool_chunks(spool)) if self.size else 0
        self._marker = Marker(self.size, written)

    def write(self, data: bytes) -> None:
        if not data:
            return
        mark = self._marker.mark(data, time.time_ns() // 1_000_000)
        if mark:
            # Torn only with the disk full: then what follows is written nowhere.
            self._marks.write(mark)
        rest = memoryview(data)
        while rest:
            # A disk that is nearly full takes a part and refuses the next.
            written = self._file.write(rest) or 0
            self.size += written
            rest = rest[written:]
        with contextlib.suppress(RedisError):
            offset = self.size - len(data)
            if not self._logs.append(self.name, self._attempt, offset, data, mark):
                self._logs.replace(self.name, self._attempt, self.spool)

    def close(self) -> None:
        self._file.close()
        self._marks.close()


def spool_chunks(spool: Path) -> Iterator[bytes]:
    with spool.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def marks_of(spool: Path) -> Path:
    """Where the marks of a spool are."""
    return spool.with_name(spool.name + MARKS)


def spool_marks(spool: Path) -> bytes:
    """None, where a crash or an older release has left a spool without."""
    try:
        return marks_of(spool).read_bytes()
    except FileNotFoundError:
        return b""
