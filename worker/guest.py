"""Run commands and move files inside one guest.

`Guest` is the contract that the steps of a job rely on; `AgentGuest` keeps it by talking to
images/agent.py, which documents the protocol, over any connected stream socket. Output and files
are streams: nothing here holds more than one chunk. A guest does one thing at a time, but for
sessions: then the channel is worker.kept.sessions'.

Knows nothing of how the guest was started. That it has died shows as GuestLost in whatever call
is waiting; who ended it, and why, only the one who did it knows.
"""

import itertools
import json
import secrets
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.errors import BootTimeout, GuestLost, GuestRefused

# The first agent that has sessions.
SESSIONS_SINCE = 2
HEADER = struct.Struct(">cI")
FRAME_LIMIT = 1024 * 1024
CHUNK = 64 * 1024
REASON_CHARACTERS = 500
RUN, WRITE, READ, BECOME, DATA, END, HELLO, BYE = (bytes([kind]) for kind in b"RWGIDEHB")
WAKE, ATTEND = b"A", b"S"


@dataclass(frozen=True)
class Identity:
    """What no two machines may share, though they continue the same snapshot."""

    name: str
    machine_id: str
    mac: str
    entropy: bytes

    @classmethod
    def new(cls) -> "Identity":
        return cls(
            name=f"build-{secrets.token_hex(4)}",
            machine_id=secrets.token_hex(16),
            # Of the block that QEMU's guests use.
            mac="525400" + secrets.token_hex(3),
            entropy=secrets.token_bytes(64),
        )


@dataclass(frozen=True)
class File:
    """A small file to be made in a guest. A relative path starts at the user's home."""

    path: str
    # It may be a secret, and some log may show this.
    data: bytes = field(repr=False)
    mode: int = 0o644


class Guest(Protocol):
    def run(
        self,
        argv: Sequence[str],
        sink: Callable[[bytes], None],
        *,
        user: str = "build",
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> int:
        """Run a command as a fresh login of `user`, in their home directory.

        Its output, stdout and stderr in one, goes to `sink` as it comes; its input is empty.
        With `terminal` the output is a terminal, which changes no byte of it. Returns the exit
        status; a negative one is the signal that ended it, 127 that it could not be started.
        """

    def write(
        self, path: str, data: bytes | Iterable[bytes], *, user: str = "build", mode: int = 0o644
    ) -> None:
        """Make a file of `user`, and its directories. A relative path starts at their home.
        Raises GuestRefused."""

    def write_files(self, files: Sequence[File], *, user: str = "build") -> None:
        """Make several small files, in the time of one. Raises GuestRefused for the first that
        cannot be made."""

    def read(self, path: str, *, limit: int, user: str = "build") -> Iterator[bytes]:
        """The bytes of a regular file, at most `limit` of them. Raises GuestRefused, before the
        first byte, for one that is missing, larger, or no regular file."""


class AgentGuest:
    def __init__(self, channel: socket.socket):
        self._channel = channel
        self._answer: dict[str, Any] = {}
        self._version = 0
        # Monotonic; a job's own commands may take as long as the job may.
        self._deadline: float | None = None

    def wait_until_up(self, deadline: float) -> None:
        """Return once the agent answers; BootTimeout when `deadline` (monotonic) passes first."""
        with self._before(deadline):
            self._greet(self._send_greeting())

    def become(self, identity: Identity, deadline: float) -> None:
        """Make the guest a machine unlike any other, and set its clock.

        May be called before the guest runs: what is asked waits for it. Raises BootTimeout when
        `deadline` (monotonic) passes before it has answered, and GuestRefused.
        """
        with self._before(deadline):
            nonce = self._send_greeting()
            self._send_identity(identity)
            self._greet(nonce)
            self._await_nothing()

    def wake(self, deadline: float) -> None:
        """Tell the guest what time it is, after it stood still. It remains who it is.

        As `become`, otherwise.
        """
        with self._before(deadline):
            nonce = self._send_greeting()
            self._send_json(WAKE, entropy=secrets.token_hex(64), time=time.time())
            self._greet(nonce)
            self._await_nothing()

    @property
    def has_sessions(self) -> bool:
        """Whether its agent is one that knows of sessions; once it has answered."""
        return self._version >= SESSIONS_SINCE

    def attend(self, deadline: float) -> socket.socket:
        """From now on the guest serves sessions: the channel, for worker.kept.sessions to use.

        Nothing else may be asked until they have ended. Raises BootTimeout, and GuestRefused.
        """
        with self._before(deadline):
            self._send_json(ATTEND)
            self._await_nothing()
        return self._channel

    def run(
        self,
        argv: Sequence[str],
        sink: Callable[[bytes], None],
        *,
        user: str = "build",
        env: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> int:
        self._send_json(RUN, argv=list(argv), user=user, env=dict(env or {}), terminal=terminal)
        for data in self._data():
            sink(data)
        status = self._answer.get("status")
        if not isinstance(status, int):
            raise GuestLost(f"its agent said that a command ended with {_one_line(status)}")
        return status

    def write(
        self, path: str, data: bytes | Iterable[bytes], *, user: str = "build", mode: int = 0o644
    ) -> None:
        self._send_json(WRITE, path=path, user=user, mode=mode)
        for chunk in _chunks(data):
            self._send(DATA, chunk)
        self._send(END)
        self._await_nothing()

    def write_files(self, files: Sequence[File], *, user: str = "build") -> None:
        # All questions first: the answers are too short to fill a buffer.
        for file in files:
            self._send_json(WRITE, path=file.path, user=user, mode=file.mode)
            self._send(DATA, file.data)
            self._send(END)
        refusals = []
        for _ in files:
            try:
                self._await_nothing()
            except GuestRefused as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    def _send_greeting(self) -> str:
        nonce = secrets.token_hex(8)
        self._send_json(HELLO, nonce=nonce)
        return nonce

    def _greet(self, nonce: str) -> None:
        """Skip whatever was said before the answer to our greeting."""
        while True:
            kind, payload = self._receive()
            fields = _fields(payload) if kind == HELLO else {}
            if fields.get("nonce") == nonce:
                self._version = _number(fields.get("version"))
                return

    def _send_identity(self, identity: Identity) -> None:
        self._send_json(
            BECOME,
            name=identity.name,
            machine_id=identity.machine_id,
            mac=identity.mac,
            entropy=identity.entropy.hex(),
            time=time.time(),
        )

    @contextmanager
    def _before(self, deadline: float) -> Iterator[None]:
        self._deadline = deadline
        try:
            yield
        except TimeoutError as error:
            raise BootTimeout("the guest did not answer in time") from error
        finally:
            self._deadline = None
            self._channel.settimeout(None)

    def _await_nothing(self) -> None:
        for _ in self._data():
            raise GuestLost("its agent sent data that nobody asked for")

    def read(self, path: str, *, limit: int, user: str = "build") -> Iterator[bytes]:
        self._send_json(READ, path=path, user=user, limit=limit)
        chunks = self._at_most(limit)
        # The first one now, so that a refusal comes before any byte.
        return itertools.chain([next(chunks, b"")], chunks)

    def _at_most(self, limit: int) -> Iterator[bytes]:
        """The data of one answer. The agent checks the limit, but root in the guest may replace
        the agent."""
        size = 0
        for data in self._data():
            size += len(data)
            if size > limit:
                raise GuestLost("its agent sent more than it was asked for")
            yield data

    def _data(self) -> Iterator[bytes]:
        """The data of one answer; its last word is left in `_answer`."""
        while True:
            kind, payload = self._receive()
            if kind == DATA:
                yield payload
            elif kind == END:
                break
            elif kind == BYE:
                raise GuestLost("it was shut down from inside")
            elif kind == HELLO:
                raise GuestLost("its agent was killed and started again")
            else:
                raise GuestLost(f"its agent sent a frame of unknown kind {kind!r}")
        self._answer = _fields(payload)
        if "error" in self._answer:
            raise GuestRefused(_one_line(self._answer["error"]))

    # --- frames -------------------------------------------------------------------------------

    def _send_json(self, kind: bytes, **fields: Any) -> None:
        self._send(kind, json.dumps(fields).encode())

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        try:
            self._channel.sendall(HEADER.pack(kind, len(payload)) + payload)
        except ConnectionError as error:
            raise GuestLost() from error

    def _receive(self) -> tuple[bytes, bytes]:
        kind, length = HEADER.unpack(self._receive_exactly(HEADER.size))
        if length > FRAME_LIMIT:
            raise GuestLost(f"its agent sent a frame of {length} bytes")
        return kind, self._receive_exactly(length)

    def _receive_exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            self._watch_the_time()
            try:
                piece = self._channel.recv(length - len(data))
            except ConnectionError as error:
                raise GuestLost() from error
            if not piece:
                raise GuestLost()
            data += piece
        return bytes(data)

    def _watch_the_time(self) -> None:
        """Also against a guest that never stops talking, which no timeout of a socket notices."""
        if self._deadline is None:
            return
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)


def _fields(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise GuestLost("its agent sent something that is not JSON") from error
    if not isinstance(fields, dict):
        raise GuestLost("its agent sent something that is not an object")
    return fields


def _number(said: object) -> int:
    return said if isinstance(said, int) else 0


def _one_line(said: object) -> str:
    """What a guest gave as a reason, fit for a line of a log."""
    return "".join(char if char.isprintable() else "?" for char in str(said)[:REASON_CHARACTERS])


def _chunks(data: bytes | Iterable[bytes]) -> Iterable[bytes]:
    if not isinstance(data, bytes):
        return data
    return (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))
