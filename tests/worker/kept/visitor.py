"""Somebody at the socket of a kept machine, as the gateway is."""

import json
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADER = struct.Struct(">cI")
ANSWER_SECONDS = 60


class Visitor:
    """One session. `visitor.out` and `visitor.err` are what it has said so far."""

    def __init__(
        self,
        path: Path,
        script: str | None = None,
        terminal: dict[str, Any] | None = None,
        user: str = "build",
    ):
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(ANSWER_SECONDS)
        self._line.connect(str(path))
        self._answers = self._line.makefile("rb")
        self.out = b""
        self.err = b""
        self.ending: dict[str, Any] | None = None
        argv = None if script is None else ["bash", "-c", script]
        self.tell(b"O", {"argv": argv, "user": user, "env": {}, "terminal": terminal})

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def tell(self, kind: bytes, data: bytes | dict[str, Any] = b"") -> None:
        payload = data if isinstance(data, bytes) else json.dumps(data).encode()
        self._line.sendall(HEADER.pack(kind, len(payload)) + payload)

    def type(self, text: bytes) -> None:
        self.tell(b"I", text)

    def wait_for(self, text: bytes) -> None:
        while text not in self.out:
            assert self._hear(), f"{text!r} did not come, only {self.out!r}: {self.ending}"

    def end(self) -> dict[str, Any] | None:
        """Listen to the end; how it ended, None if the line just ended."""
        while self._hear():
            pass
        return self.ending

    def _hear(self) -> bool:
        header = self._answers.read(HEADER.size)
        if len(header) < HEADER.size:
            return False
        kind, length = HEADER.unpack(header)
        data = self._answers.read(length)
        if kind == b"D":
            self.out += data
        elif kind == b"X":
            self.err += data
        else:
            assert kind == b"E"
            self.ending = json.loads(data)
        return kind != b"E"

    def break_off(self) -> None:
        """Hang up while another thread still sends."""
        self._line.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        self._answers.close()
        self._line.close()


def said(path: Path, script: str, **options: Any) -> bytes:
    """What a command says, which must succeed."""
    with Visitor(path, script, **options) as visitor:
        assert visitor.end() == {"status": 0}, visitor.err
        return visitor.out


def wait_until(condition: Callable[[], object], seconds: float = ANSWER_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
