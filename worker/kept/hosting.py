"""Who is in a machine, and what is to become of it when nobody is, or nobody may be any longer.

Each connection is a session of its own. Frames go both ways: a byte that says what it is, four
bytes length (big endian), and that many bytes.

    from a visitor     O  {argv, user, env, terminal}, once: what to run; argv null is a login
                          shell, terminal is null or {term, columns, rows}
                       I  bytes for its standard input          F  the end of those
                       Z  {columns, rows}                       S  {signal}
    to a visitor       D  bytes of its standard output          X  of its standard error
                       E  {status} or {error}: how it ended

Who hangs up ends the session. Knows nothing of jobs, nor how the machine came to run.
"""

import asyncio
import enum
import json
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from worker.errors import GuestLost, GuestRefused
from worker.guest import FRAME_LIMIT, HEADER
from worker.kept.sessions import (
    CLOSED,
    EOF,
    INPUT,
    OPEN,
    SIGNAL,
    SIZE,
    Session,
    Sessions,
    ShutDown,
)

# From connecting to saying what is wanted; and what somebody may take to hear how it ended.
OPEN_SECONDS = 10
LAST_WORDS_SECONDS = 10
LOOK_SECONDS = 1


class Fate(enum.Enum):
    """What is to become of the machine, as whoever is still in it is told."""

    LEFT = "its owner left it"
    SHUT_DOWN = "it was shut down from inside"
    LOST = "the machine was lost"
    IDLE = "nobody was connected any more"
    UNTOUCHED = "nobody came"
    OVERDUE = "the machine ran as long as it may; connect again to go on"
    STOPPED = "the build host is being stopped; connect again later"


@dataclass(frozen=True)
class Terms:
    """How long a machine goes on, in seconds: after the last session, and after a connection."""

    linger: float
    longest: float


class Hosting:
    """`may_close` is asked when nobody has been there for the time to linger: whether nobody is on
    the way either."""

    def __init__(self, sessions: Sessions, terms: Terms, may_close: Callable[[], bool]):
        self._sessions = sessions
        self._terms = terms
        self._may_close = may_close
        self._visits: set[asyncio.Task[object]] = set()
        self._leaving: set[asyncio.Task[object]] = set()
        self._farewell = ""
        self._open: set[Session] = set()
        self._idle_since = time.monotonic()
        self._deadline = 0.0
        self._was_visited = False
        self._was_left = False
        self._was_stopped = False
        self._changed = asyncio.Event()

    def stop(self) -> None:
        self._was_stopped = True
        self._changed.set()

    async def run(self, listener: socket.socket) -> Fate:
        """Let in whoever comes, until the machine is to end, or to be frozen again. Then nobody is
        in it any more."""
        server = await asyncio.start_unix_server(self._welcome, sock=listener)
        try:
            while (fate := self._fate()) is None:
                await self._wait()
        finally:
            server.close()
        await self._see_off(fate)
        return fate

    def _fate(self) -> Fate | None:
        now = time.monotonic()
        if self._sessions.lost.done():
            error = self._sessions.lost.exception()
            return Fate.SHUT_DOWN if isinstance(error, ShutDown) else Fate.LOST
        if self._was_left and not self._open:
            return Fate.LEFT
        if self._was_stopped:
            return Fate.STOPPED
        if self._open:
            return Fate.OVERDUE if now >= self._deadline else None
        if now < self._idle_since + self._terms.linger:
            return None
        if not self._may_close():
            self._idle_since = now
            return None
        return Fate.IDLE if self._was_visited else Fate.UNTOUCHED

    async def _wait(self) -> None:
        until = self._deadline if self._open else self._idle_since + self._terms.linger
        self._changed.clear()
        change = asyncio.ensure_future(self._changed.wait())
        await asyncio.wait(
            [change, self._sessions.lost],
            timeout=max(until - time.monotonic(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        change.cancel()

    async def _see_off(self, fate: Fate) -> None:
        self._farewell = fate.value
        for visit in self._visits - self._leaving:
            visit.cancel()
        if self._visits:
            await asyncio.wait(self._visits, timeout=LAST_WORDS_SECONDS)

    # --- one visit ----------------------------------------------------------------------------

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit, "connections are dealt with in tasks"
        self._visits.add(visit)
        try:
            ending = await self._serve(reader, writer)
        except asyncio.CancelledError:
            ending = {"error": self._farewell}
        except GuestLost as error:
            ending = {"error": str(error) or Fate.LOST.value}
        except GuestRefused as error:
            ending = {"error": str(error)}
        except (ConnectionError, asyncio.IncompleteReadError):
            ending = None
        self._leaving.add(visit)
        if ending:
            writer.write(_frame(CLOSED, json.dumps(ending).encode()))
        writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), LAST_WORDS_SECONDS)
        self._visits.discard(visit)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> dict[str, Any]:
        """One session, from its first frame to how it ended."""
        try:
            request = await asyncio.wait_for(_first_frame(reader), OPEN_SECONDS)
        except (TimeoutError, ValueError) as error:
            return {"error": str(error) or "nothing was asked for in time"}
        session = self._enter(request)
        passing_on = asyncio.ensure_future(_pass_on(reader, writer, session))
        try:
            ending = await _tell(session, writer)
        finally:
            passing_on.cancel()
            self._leave(session)
        # A login shell that was left; a lost line hangs it up, which is no status.
        self._was_left = request["argv"] is None and ending.get("status", -1) >= 0
        return ending

    def _enter(self, request: dict[str, Any]) -> Session:
        session = self._sessions.open(request)
        self._open.add(session)
        self._was_visited = True
        self._was_left = False
        self._deadline = time.monotonic() + self._terms.longest
        self._changed.set()
        return session

    def _leave(self, session: Session) -> None:
        session.hang_up()
        self._open.discard(session)
        self._idle_since = time.monotonic()
        self._changed.set()


async def _tell(session: Session, writer: asyncio.StreamWriter) -> dict[str, Any]:
    """What the session says, to its visitor; how it ended."""
    while (said := await session.next_said()).kind != CLOSED:
        writer.write(_frame(said.kind, said.data))
        await writer.drain()
        session.taken(said)
    return _ending(said.data)


def _ending(data: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        ending = json.loads(data)
        if isinstance(ending, dict) and isinstance(ending.get("status"), int):
            return {"status": ending["status"]}
        if isinstance(ending, dict) and isinstance(ending.get("error"), str):
            return {"error": ending["error"]}
    raise GuestLost("its agent said that a session ended with something else than a status")


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: Session
) -> None:
    """What the visitor says, to the session, until the visitor hangs up."""
    with suppress(ConnectionError, asyncio.IncompleteReadError, TypeError, ValueError):
        while True:
            kind, data = await _receive(reader)
            if kind == INPUT:
                await _send(session, data, writer)
            elif kind == EOF:
                session.end_input()
            elif kind == SIZE:
                size = _fields(data, {"columns", "rows"})
                session.resize(int(size["columns"]), int(size["rows"]))
            elif kind == SIGNAL:
                session.signal(str(_fields(data, {"signal"})["signal"]))
    session.hang_up()


async def _send(session: Session, data: bytes, line: asyncio.StreamWriter) -> None:
    while data:
        try:
            size = await asyncio.wait_for(session.may_send(), LOOK_SECONDS)
        except TimeoutError:
            if _has_hung_up(line):
                raise ConnectionResetError from None
            continue
        session.send(data[:size])
        data = data[size:]


def _has_hung_up(line: asyncio.StreamWriter) -> bool:
    """Also when what was sent before is not read yet, which hides the end from a reader."""
    poll = select.poll()
    poll.register(line.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))


async def _first_frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    kind, data = await _receive(reader)
    if kind != OPEN:
        raise ValueError(f"expected a frame O first, got {kind!r}")
    return _fields(data, {"argv", "user", "env", "terminal"})


def _fields(data: bytes, names: set[str]) -> dict[str, Any]:
    fields = json.loads(data)
    if not isinstance(fields, dict) or set(fields) != names:
        raise ValueError(f"expected an object with {', '.join(sorted(names))}")
    return fields


async def _receive(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > FRAME_LIMIT:
        raise ValueError(f"expected a frame of at most {FRAME_LIMIT} bytes, got {length}")
    return kind, await reader.readexactly(length)


def _frame(kind: bytes, data: bytes) -> bytes:
    return HEADER.pack(kind, len(data)) + data
