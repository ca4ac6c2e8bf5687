"""Very many readers of one stream at once, each a connection from an address of its own.

They are counted by what they are answered; those that are streamed to stay connected, and read
nothing, for as long as a block lasts.
"""

import resource
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Of the loopback, 127.1.0.1 and so on: each is one client.
ADDRESSES_PER_BLOCK = 250
# How many connections are under way at once: the server's queue of those is not endless.
AT_ONCE = 400
# Descriptors that are for something else.
SPARE_FILES = 200
REFUSED = 503


@dataclass
class Crowd:
    """What so many were answered, by status; 0 is no answer. `polite` is how many of those who were
    refused were told when to come again."""

    statuses: Counter[int] = field(default_factory=Counter)
    polite: int = 0


def room_for(wanted: int) -> int:
    """How many connections this process may have, at most `wanted`; raises its own limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - SPARE_FILES)


@contextmanager
def gathered(origin: str, path: str, count: int, seconds: float) -> Iterator[Crowd]:
    """So many connections that ask for `path`, all answered or given up after `seconds`."""
    with ExitStack() as held:
        gathering = _Gathering(origin, path, held)
        gathering.run(count, time.monotonic() + seconds)
        yield gathering.crowd


class _Gathering:
    def __init__(self, origin: str, path: str, held: ExitStack):
        self.crowd = Crowd()
        parts = urlsplit(origin)
        self._address = (parts.hostname, parts.port)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._held = held
        self._selector = selectors.DefaultSelector()

    def run(self, count: int, deadline: float) -> None:
        begun = 0
        with self._selector:
            while begun < count or self._selector.get_map():
                if time.monotonic() > deadline:
                    break
                while begun < count and len(self._selector.get_map()) < AT_ONCE:
                    self._begin(begun)
                    begun += 1
                for key, _ in self._selector.select(timeout=0.1):
                    self._go_on(key)
            silent = [key.fileobj for key in self._selector.get_map().values()]
        for connection in silent:
            self.crowd.statuses[0] += 1
            assert isinstance(connection, socket.socket)
            connection.close()

    def _begin(self, number: int) -> None:
        block, last = divmod(number, ADDRESSES_PER_BLOCK)
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((f"127.1.{block}.{last + 1}", 0))
        connection.connect_ex(self._address)
        self._selector.register(connection, selectors.EVENT_WRITE, b"")

    def _go_on(self, key: selectors.SelectorKey) -> None:
        connection = key.fileobj
        assert isinstance(connection, socket.socket)
        try:
            if key.events == selectors.EVENT_WRITE:
                connection.send(self._request)
                self._selector.modify(connection, selectors.EVENT_READ, b"")
                return
            # Not much more than the head of the answer: the rest is left to wait.
            data = connection.recv(1024)
        except OSError:
            data = b""
        head: bytes = key.data + data
        if data and b"\r\n\r\n" not in head:
            self._selector.modify(connection, selectors.EVENT_READ, head)
            return
        self._selector.unregister(connection)
        self._count(head, connection)

    def _count(self, head: bytes, connection: socket.socket) -> None:
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else 0
        self.crowd.statuses[status] += 1
        if status == REFUSED and b"\r\nretry-after: " in head.lower():
            self.crowd.polite += 1
        if status == 200:
            self._held.enter_context(connection)
        else:
            connection.close()
