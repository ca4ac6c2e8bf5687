"""One channel of a client: what it asks for, its bytes in both directions, and how it ends.

What the client sends waits here in order, as the frames that a visit passes on, and only so much of
it: then the client is held back. What is written to the client waits for it the same way.

A task serves each session. It is cancelled when the client goes away, when the gateway stops, and
by Ctrl-C or a signal while nothing in a machine listens to those.

Knows nothing of jobs and machines.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from signal import Signals

import asyncssh

INPUT, END_OF_INPUT, SIZE, SIGNAL = (bytes([kind]) for kind in b"IFZS")
Frame = tuple[bytes, bytes]

# Of what the client has sent; the library has room for one window more.
INPUT_BYTES = 256 * 1024
# What a frame takes up beside its payload, about; and how much signals and the like may take up,
# for which no client can be held back.
FRAME_BYTES = 64
MOST_BYTES = 4 * INPUT_BYTES
ENVIRONMENT = re.compile(r"LANG|LC_[A-Z]+")
VARIABLE_CHARACTERS = 256
TERMINAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")
UNKNOWN_TERMINAL = "dumb"
USUAL_COLUMNS, USUAL_ROWS = 80, 24
MOST_CELLS = 65535
# RFC 4254; a client can name these, and be told of these.
SIGNALS = (
    *("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL"),
    *("PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"),
)
CTRL_C = b"\x03"
INTERRUPTED = 130
STOPPED = 255
CLOSE_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Request:
    """What a client asks for: a command, a file transfer, or, if neither, a shell."""

    command: str | None = None
    sftp: bool = False


@dataclass(frozen=True)
class Terminal:
    term: str
    columns: int
    rows: int


@dataclass(frozen=True)
class Killed:
    """How a command ended that a signal ended."""

    signal: str


Ending = int | Killed


class Session(asyncssh.SSHServerSession[bytes]):
    def __init__(
        self,
        serve: Callable[["Session"], Awaitable[Ending]],
        closed: Callable[["Session"], None],
    ):
        self._serve = serve
        self._closed = closed
        self._task: asyncio.Task[None] | None = None
        self._farewell: tuple[int, str] | None = None
        self._listens = False
        self._input: deque[Frame] = deque()
        self._input_bytes = 0
        self._arrived = asyncio.Event()
        self._held_back = False
        self._looking = False
        self._writable = asyncio.Event()
        self._writable.set()
        self.request = Request()
        self.terminal: Terminal | None = None
        self.is_over = False

    # --- what the library tells ---------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task:
            self._task.cancel()
        self.is_over = True
        self._closed(self)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        name = term_type if TERMINAL_NAME.fullmatch(term_type) else UNKNOWN_TERMINAL
        self.terminal = Terminal(name, *_cells(*term_size[:2]))
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self.request = Request(command=command)
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        self.request = Request(sftp=True)
        return subsystem == "sftp"

    def session_started(self) -> None:
        self._task = asyncio.create_task(self._run())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self.terminal and not self._listens and CTRL_C in data:
            self._leave(INTERRUPTED, "")
        self._put(INPUT, data)
        if self._input_bytes >= INPUT_BYTES and not self._held_back:
            self._held_back = True
            self._channel.pause_reading()
            self._start_looking()

    def eof_received(self) -> bool:
        self._put(END_OF_INPUT)
        # The other direction stays open: a command may answer what it was given.
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self.terminal:
            self.terminal = Terminal(self.terminal.term, *_cells(width, height))
            if self._listens:
                size = {"columns": self.terminal.columns, "rows": self.terminal.rows}
                self._put(SIZE, json.dumps(size).encode())

    def signal_received(self, signal: str) -> None:
        if signal not in SIGNALS:
            return
        if self._listens:
            self._put(SIGNAL, json.dumps({"signal": signal}).encode())
        else:
            self._leave(INTERRUPTED, "")

    def break_received(self, msec: int) -> bool:
        """What a break does to a terminal that is set up as usual."""
        self.signal_received("INT")
        return True

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- input --------------------------------------------------------------------------------

    def listen(self) -> None:
        """From now on Ctrl-C and signals are for whoever receives the input."""
        self._listens = True

    async def receive(self) -> Frame:
        """The next that the client sent, as long as it takes."""
        while not self._input:
            self._arrived.clear()
            await self._arrived.wait()
        kind, payload = self._input.popleft()
        self._input_bytes -= FRAME_BYTES + len(payload)
        if self._held_back and self._input_bytes < INPUT_BYTES:
            self._held_back = False
            self._channel.resume_reading()
        return kind, payload

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the client that are passed on: in which language it reads."""
        return {
            name: value
            for name, value in self._channel.get_environment().items()
            if ENVIRONMENT.fullmatch(name) and len(value) <= VARIABLE_CHARACTERS
        }

    def _put(self, kind: bytes, payload: bytes = b"") -> None:
        self._input.append((kind, payload))
        self._input_bytes += FRAME_BYTES + len(payload)
        self._arrived.set()
        if self._input_bytes > MOST_BYTES:
            self._channel.abort()

    def _start_looking(self) -> None:
        """While a client is held back, the library does not say that it closed the channel."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(CLOSE_LOOK_SECONDS, self._look_for_close)

    def _look_for_close(self) -> None:
        self._looking = False
        if self._task and not self._task.done():
            if self._channel.is_closing():
                self._channel.abort()
            elif self._held_back:
                self._start_looking()

    # --- output -------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """To standard output, as it is."""
        self._channel.write(data)
        await self._writable.wait()

    async def write_error(self, data: bytes) -> None:
        self._channel.write(data, asyncssh.EXTENDED_DATA_STDERR)
        await self._writable.wait()

    async def show(self, text: bytes, *, error: bool = False) -> None:
        """Lines of our own.

        A terminal has to be moved to its left edge; and it has one stream, because of two the
        client would mix up the order.
        """
        if self.terminal:
            await self.write(text.replace(b"\n", b"\r\n"))
        else:
            await (self.write_error(text) if error else self.write(text))

    async def say(self, line: str) -> None:
        """One line to whoever sits at the other end."""
        await self.show(_printable(line).encode() + b"\n", error=True)

    # --- life ---------------------------------------------------------------------------------

    async def stop(self, reason: str) -> None:
        """End it, because the gateway wants to."""
        self._leave(STOPPED, reason)
        if self._task:
            await asyncio.wait([self._task])

    def _leave(self, status: int, reason: str) -> None:
        if self._task and self._farewell is None:
            self._farewell = (status, reason)
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self._end(await self._serve(self))
        except asyncio.CancelledError:
            # A client that went away is told nothing.
            if self._farewell and not self._channel.is_closing():
                status, reason = self._farewell
                self._say_at_once(reason)
                self._end(status)
        except BrokenPipeError:
            # It went away, and we are about to be told so.
            self._channel.abort()

    def _say_at_once(self, reason: str) -> None:
        """However far behind the client is."""
        if self.terminal:
            self._channel.write(f"\r\n{reason}\r\n".encode())
        elif reason:
            self._channel.write(f"{reason}\n".encode(), asyncssh.EXTENDED_DATA_STDERR)

    def _end(self, ending: Ending) -> None:
        if self._channel.is_closing():
            return
        if isinstance(ending, Killed):
            self._channel.exit_with_signal(ending.signal)
        else:
            self._channel.exit(ending)


def ending_of(status: int) -> Ending:
    """How a client is told of a status as Python's subprocess has it: minus a signal's number."""
    if status >= 0:
        return status & 0xFF
    try:
        name = Signals(-status).name.removeprefix("SIG")
    except ValueError:
        name = ""
    return Killed(name) if name in SIGNALS else (128 - status) & 0xFF


def _cells(columns: int, rows: int) -> tuple[int, int]:
    """Zero means that the client does not know."""
    return min(columns or USUAL_COLUMNS, MOST_CELLS), min(rows or USUAL_ROWS, MOST_CELLS)


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in line)
