"""Look for bytes wherever a build host and its servers keep something, while a job runs and after.

A search that finds nothing proves nothing by itself: each place is also searched for something that
must be there.
"""

import base64
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType

from redis import Redis
from sqlalchemy import make_url

from buildsrht.backend import Backend

PAUSE_SECONDS = 0.2
CHUNK = 2**24
PLACES = ("database", "redis", "storage", "work", "snapshots", "processes")


class Search:
    """Within its block every place is searched again and again; at its end once more."""

    def __init__(self, backend: Backend, marks: Iterable[bytes]):
        self._backend = backend
        self._marks = [form for mark in marks for form in (mark, base64.b64encode(mark)[:-4])]
        # In the database and the logs by its image; in Redis while its log grows; in processes and
        # files as the name of its directory's owner.
        self._known = {
            "database": b"debian/trixie",
            "redis": b"debian/trixie",
            "storage": b"debian/trixie",
            "work": b"debian/trixie",
            "snapshots": b"debian/trixie",
            "processes": b"qemu-system-x86_64",
        }
        self._found: dict[str, list[str]] = {place: [] for place in PLACES}
        self._seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking)

    def __enter__(self) -> "Search":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        for place in PLACES:
            self._look(place)

    def found(self, place: str) -> list[str]:
        """Where in this place a mark was found."""
        return self._found[place]

    def was_not_blind(self, place: str) -> bool:
        return place in self._seen

    def _keep_looking(self) -> None:
        # Overlays hold what the guest writes, in clear, for as long as it runs; snapshots are large
        # and do not change.
        while not self._over.wait(PAUSE_SECONDS):
            for place in ("redis", "work", "processes"):
                self._look(place)

    def _look(self, place: str) -> None:
        for name, content in getattr(self, f"_{place}")():
            if self._known[place] in content:
                self._seen.add(place)
            self._found[place] += [
                f"{name} has {mark[:16]!r}" for mark in self._marks if mark in content
            ]

    def _database(self) -> Iterator[tuple[str, bytes]]:
        url = make_url(self._backend.config.database.url)
        command = ["pg_dump", "--data-only", "--host", str(url.normalized_query["host"][0])]
        command += ["--username", str(url.username), str(url.database)]
        dump = subprocess.run(command, check=True, capture_output=True).stdout
        yield "the dump", dump
        # Bytes are dumped in hexadecimal.
        yield (
            "its bytes",
            b"\n".join(
                bytes.fromhex(word[3:].decode())
                for word in dump.split()
                if word.startswith(rb"\\x")
            ),
        )

    def _redis(self) -> Iterator[tuple[str, bytes]]:
        for key in self._backend.redis.scan_iter():
            for value in _values(self._backend.redis, key):
                yield key.decode(), value

    def _storage(self) -> Iterator[tuple[str, bytes]]:
        yield from _contents(self._backend.config.storage.path)

    def _work(self) -> Iterator[tuple[str, bytes]]:
        yield from _contents(self._backend.config.worker.path, but_not="overlay.qcow2")

    def _snapshots(self) -> Iterator[tuple[str, bytes]]:
        yield from _contents(self._backend.config.snapshots.path)

    def _processes(self) -> Iterator[tuple[str, bytes]]:
        for directory in Path("/proc").glob("[0-9]*"):
            for file in ("cmdline", "environ"):
                try:
                    yield f"{directory}/{file}", (directory / file).read_bytes()
                except (OSError, ProcessLookupError):
                    continue


def _values(redis: Redis, key: bytes) -> Iterator[bytes]:
    """What is at a key, of whatever type it is, and unpacked: RQ packs what it is told to do."""
    readers: dict[bytes, Callable[[], Iterable[bytes]]] = {
        b"string": lambda: [redis.get(key) or b""],
        b"list": lambda: redis.lrange(key, 0, -1),
        b"set": lambda: redis.smembers(key),
        b"zset": lambda: redis.zrange(key, 0, -1),
        b"hash": lambda: chain.from_iterable(redis.hgetall(key).items()),
        b"stream": lambda: [repr(redis.xrange(key)).encode()],
        b"none": list,
    }
    for value in readers[redis.type(key)]():
        yield value
        with suppress(zlib.error):
            yield zlib.decompress(value)


def _contents(directory: Path, but_not: str = "") -> Iterator[tuple[str, bytes]]:
    for path in directory.rglob("*"):
        try:
            if path.name == but_not or not path.is_file():
                continue
            with path.open("rb") as file:
                before = b""
                while piece := file.read(CHUNK):
                    yield str(path), before + piece
                    before = piece[-4096:]
        except OSError:
            # It was removed meanwhile.
            continue
