"""Several sessions in one guest at once, over its one channel: our side of images/agent.py.

A session has an owner here, who reads what it says and sends it input. One that does not read
holds up nobody else: the guest sends no more than a window of one session ahead. A guest that does
not keep to this, or to anything else, is lost. So is one that does not listen, however much it is
owed: nothing here grows beyond what windows and sessions allow.

Knows nothing of who sits at the other end of a session.
"""

import asyncio
import json
import struct
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from worker.errors import GuestLost, GuestRefused
from worker.guest import BYE, FRAME_LIMIT, HEADER, HELLO, AgentGuest

OPEN, INPUT, EOF, SIZE, SIGNAL, CREDIT, HANG_UP, QUIT = (bytes([kind]) for kind in b"OIFZSAKQ")
OUTPUT, ERRORS, CLOSED = (bytes([kind]) for kind in b"DXE")
NUMBER = struct.Struct(">I")
WINDOW = 256 * 1024
CHUNK = 64 * 1024
QUIT_SECONDS = 10
# Twice as many as an agent serves: those that were hung up count until it says that they ended.
MOST_SESSIONS = 128
# All that a guest may leave unread, about; its agent reads whatever comes.
MOST_UNREAD = MOST_SESSIONS * WINDOW
# From how many pieces on the order of output and errors is no longer kept.
MOST_PIECES = 64


class ShutDown(GuestLost):
    """The machine was shut down from inside."""


class Said(NamedTuple):
    """Something of a session: OUTPUT or ERRORS with bytes; or CLOSED with JSON, the last."""

    kind: bytes
    data: bytes


class Session:
    """One session, for one task to read from and one to write to."""

    def __init__(self, number: int, sessions: "Sessions"):
        self.number = number
        self._sessions = sessions
        self._said: deque[tuple[bytes, bytearray]] = deque()
        self._has_said = asyncio.Event()
        # What the guest may still send, and what we may.
        self._theirs = WINDOW
        self._ours = WINDOW
        self._has_credit = asyncio.Event()
        self._has_credit.set()

    async def next_said(self) -> Said:
        """Whatever it says next; GuestLost when its guest is gone. Say so when it is `taken`."""
        while not self._said:
            self._has_said.clear()
            if self._sessions.lost.done():
                await self._sessions.lost
                raise GuestLost("its sessions were ended")
            waiting = asyncio.ensure_future(self._has_said.wait())
            await asyncio.wait([waiting, self._sessions.lost], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        kind, data = self._said.popleft()
        return Said(kind, bytes(data))

    def taken(self, said: Said) -> None:
        """Let the guest send as much again."""
        self._theirs += len(said.data)
        self._tell(CREDIT, NUMBER.pack(len(said.data)))

    async def may_send(self) -> int:
        """How many bytes of input the guest takes now; waits until it is one."""
        await self._has_credit.wait()
        return min(self._ours, CHUNK)

    def send(self, data: bytes) -> None:
        """Input, no more than it `may_send`."""
        self._ours -= len(data)
        if self._ours <= 0:
            self._has_credit.clear()
        self._tell(INPUT, data)

    def end_input(self) -> None:
        self._tell(EOF)

    def resize(self, columns: int, rows: int) -> None:
        self._tell(SIZE, json.dumps({"columns": columns, "rows": rows}).encode())

    def signal(self, name: str) -> None:
        self._tell(SIGNAL, json.dumps({"signal": name}).encode())

    def hang_up(self) -> None:
        """As if its line had gone dead: what runs in it is told by SIGHUP."""
        self._tell(HANG_UP)

    def _tell(self, kind: bytes, data: bytes = b"") -> None:
        self._sessions.tell(kind, NUMBER.pack(self.number) + data)

    def hear(self, kind: bytes, data: bytes) -> None:
        """What the guest sends. Raises GuestLost if it must not."""
        if kind == CREDIT:
            (more,) = NUMBER.unpack(data)
            self._ours = min(self._ours + more, WINDOW)
            self._has_credit.set()
            return
        if kind != CLOSED:
            self._theirs -= len(data)
        if self._theirs < 0:
            raise GuestLost("its agent sent more than it was asked for")
        if data or kind == CLOSED:
            self._put(kind, data)

    def _put(self, kind: bytes, data: bytes) -> None:
        """In as few pieces as can be: a guest may send each byte by itself."""
        if self._said and self._said[-1][0] == kind:
            self._said[-1][1].extend(data)
        elif kind != CLOSED and len(self._said) >= MOST_PIECES:
            # The one before the last is of this kind, as neighbours never are of the same.
            self._said[-2][1].extend(data)
        else:
            self._said.append((kind, bytearray(data)))
        self._has_said.set()


class Sessions:
    """All sessions of a guest. `lost` never has a result: it raises GuestLost when the guest went
    away."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._reader = reader
        self._writer = writer
        self._open: dict[int, Session] = {}
        self._last = 0
        self.lost = asyncio.ensure_future(self._listen())

    def open(self, request: Mapping[str, Any]) -> Session:
        """Begin a session: `argv`, `user`, `env` and `terminal` as the agent's OPEN has them.

        Raises GuestRefused when there are too many.
        """
        if len(self._open) >= MOST_SESSIONS:
            raise GuestRefused(f"{MOST_SESSIONS} sessions in this machine have not ended")
        self._last += 1
        session = self._open[self._last] = Session(self._last, self)
        self.tell(OPEN, NUMBER.pack(session.number) + json.dumps(dict(request)).encode())
        return session

    def tell(self, kind: bytes, data: bytes = b"") -> None:
        # Never waits: windows are what bounds the buffer, for a guest that keeps to them.
        if self.lost.done():
            return
        self._writer.write(HEADER.pack(kind, len(data)) + data)
        if self._writer.transport.get_write_buffer_size() > MOST_UNREAD:
            self._writer.transport.abort()

    async def _listen(self) -> None:
        """Sort what the guest says, until it says QUIT."""
        while True:
            kind, data = await self._receive()
            if kind == QUIT:
                return
            if kind == BYE:
                raise ShutDown("it was shut down from inside")
            if kind == HELLO:
                raise GuestLost("its agent was killed and started again")
            if kind not in (OUTPUT, ERRORS, CREDIT, CLOSED) or len(data) < NUMBER.size:
                raise GuestLost(f"its agent sent a frame of unknown kind {kind!r}")
            self._pass_on(kind, NUMBER.unpack(data[: NUMBER.size])[0], data[NUMBER.size :])

    def _pass_on(self, kind: bytes, number: int, data: bytes) -> None:
        session = self._open.get(number)
        if session is None:
            raise GuestLost(f"its agent spoke of a session {number}, which there is not")
        try:
            session.hear(kind, data)
        except struct.error as error:
            raise GuestLost("its agent gave credit that is no number") from error
        if kind == CLOSED:
            del self._open[number]

    async def _receive(self) -> tuple[bytes, bytes]:
        try:
            kind, length = HEADER.unpack(await self._reader.readexactly(HEADER.size))
            if length > FRAME_LIMIT:
                raise GuestLost(f"its agent sent a frame of {length} bytes")
            return kind, await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise GuestLost() from error

    async def quit(self) -> None:
        """Hang up every session; then the guest takes requests again. Raises GuestLost."""
        self.tell(QUIT)
        try:
            await asyncio.wait_for(asyncio.shield(self.lost), QUIT_SECONDS)
        except TimeoutError as error:
            raise GuestLost("it did not answer in time") from error


@asynccontextmanager
async def attending(guest: AgentGuest, deadline: float) -> AsyncIterator[Sessions]:
    """The guest serves sessions for as long as the block runs; afterwards it is only good for
    requests again if the block called `quit`."""
    line = guest.attend(deadline)
    reader, writer = await asyncio.open_connection(sock=line.dup())
    sessions = Sessions(reader, writer)
    try:
        yield sessions
    finally:
        sessions.lost.cancel()
        with suppress(asyncio.CancelledError, GuestLost):
            await sessions.lost
        writer.close()
        # Both descriptors are of one line, and whoever asks the guest for something waits.
        line.setblocking(True)
