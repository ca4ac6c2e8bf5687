"""A program in a terminal, and somebody who looks at it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

LOOK_SECONDS = 30
CHUNK = 64 * 1024


class Screen:
    def __init__(self, command: list[str]):
        self._master, slave = pty.openpty()
        self.resize(80, 24)
        self.shown = b""
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: bytes) -> bytes:
        """What was shown up to and with `text`, which has to come."""
        deadline = time.monotonic() + LOOK_SECONDS
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} does not come, only {self.shown!r}"
            self.shown += self._read(text)
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def _read(self, text: bytes) -> bytes:
        try:
            return os.read(self._master, CHUNK)
        except OSError:
            raise AssertionError(f"{text!r} did not come, only {self.shown!r}") from None

    def end(self) -> int:
        """The exit status of the program, once it has ended."""
        deadline = time.monotonic() + LOOK_SECONDS
        while select.select([self._master], [], [], deadline - time.monotonic())[0]:
            try:
                self.shown += os.read(self._master, CHUNK)
            except OSError:
                break
        return self._process.wait(LOOK_SECONDS)
