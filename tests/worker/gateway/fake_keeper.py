"""A keeper whose machine is a directory of this host.

It speaks the frames of worker/kept/hosting.py, and runs what it is asked for here, with a real
terminal if there shall be one.
"""

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Queue
from typing import Any

from buildsrht.config import Config
from worker.errors import RunnerError
from worker.guest import HEADER

CHUNK = 64 * 1024


class FakeKeeper:
    def __init__(self, path: Path, home: Path):
        self.home = home
        self.opened: list[int] = []
        # A reason why no machine can be opened, or something that is to happen before.
        self.refusal: str | None = None
        self.requests: list[dict[str, Any]] = []
        self.ended: Queue[str] = Queue()
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def open_machine(self, config: Config, job_id: int) -> Path:
        if self.refusal:
            raise RunnerError(self.refusal)
        self.opened.append(job_id)
        return self._path

    def lose_the_machine(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.lose_the_machine()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._attend, args=[connection], daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as frames:
            _, request = _next(frames) or (b"", b"{}")
            self.requests.append(json.loads(request))
            visit = Visit(connection, self.home, self.requests[-1])
            visit.listen_to(frames)
            visit.hang_up()
        self.ended.put(" ".join(self.requests[-1]["argv"] or ["shell"]))


class Visit:
    """One process, or a login shell, and who talks to it."""

    def __init__(self, connection: socket.socket, home: Path, request: dict[str, Any]):
        self._connection = connection
        self._sending = threading.Lock()
        terminal = request["terminal"]
        argv = request["argv"] or ["bash", "--noprofile", "--norc"]
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "$ ", **request["env"]}
        if terminal:
            self._in, slave = pty.openpty()
            self.resize(terminal)
            ends = {"stdin": slave, "stdout": slave, "stderr": slave}
            env["TERM"] = terminal["term"]
        else:
            ends = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = subprocess.Popen(
            argv,
            cwd=home,
            env=env,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if terminal else None,
            bufsize=0,
            **ends,
        )
        if terminal:
            os.close(slave)
            outputs = {b"D": self._in}
        else:
            self._in = self._process.stdin.fileno()
            outputs = {b"D": self._process.stdout.fileno(), b"X": self._process.stderr.fileno()}
        threads = [
            threading.Thread(target=self._pass_on, args=item, daemon=True)
            for item in outputs.items()
        ]
        for thread in threads:
            thread.start()
        threading.Thread(target=self._wait, args=[threads], daemon=True).start()

    def listen_to(self, frames: Any) -> None:
        actions: dict[bytes, Callable[[bytes], None]] = {
            b"I": self._write,
            b"F": lambda _: self._process.stdin and self._process.stdin.close(),
            b"Z": lambda payload: self.resize(json.loads(payload)),
            b"S": lambda payload: self._signal(json.loads(payload)["signal"]),
        }
        # A visitor who leaves with something unread resets the connection.
        with suppress(ConnectionResetError):
            while frame := _next(frames):
                kind, payload = frame
                actions[kind](payload)

    def resize(self, size: dict[str, Any]) -> None:
        cells = struct.pack("HHHH", size["rows"], size["columns"], 0, 0)
        fcntl.ioctl(self._in, termios.TIOCSWINSZ, cells)

    def hang_up(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _write(self, data: bytes) -> None:
        """As long as somebody wants that: a process may never read, and its visitor leave."""
        room = select.poll()
        room.register(self._in, select.POLLOUT)
        room.register(self._connection, select.POLLRDHUP)
        with suppress(BrokenPipeError):
            while data and self._connection.fileno() not in dict(room.poll()):
                data = data[os.write(self._in, data[: select.PIPE_BUF]) :]

    def _signal(self, name: str) -> None:
        os.killpg(self._process.pid, signal.Signals[f"SIG{name}"])

    def _pass_on(self, kind: bytes, output: int) -> None:
        # A terminal whose last user is gone is an I/O error.
        with suppress(OSError):
            while data := os.read(output, CHUNK):
                self._send(kind, data)

    def _wait(self, outputs: list[threading.Thread]) -> None:
        status = self._process.wait()
        for output in outputs:
            output.join()
        self._send(b"E", json.dumps({"status": status}).encode())

    def _send(self, kind: bytes, payload: bytes) -> None:
        with self._sending, suppress(OSError):
            self._connection.sendall(HEADER.pack(kind, len(payload)) + payload)


def _next(frames: Any) -> tuple[bytes, bytes] | None:
    header = frames.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    return kind, frames.read(length)
