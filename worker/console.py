"""What a guest's kernel says on its serial line, of which the end tells why a guest is gone."""

import contextlib
import socket
import threading

CONSOLE_BYTES = 64 * 1024
# Before and after the panic's own line; what came first says the most.
REPORT_LINES = 80
PANIC = b"Kernel panic"
# A kernel changes its code while it runs, and puts this instruction there meanwhile. QEMU before
# 8.1 may emulate it afterwards too, when nobody expects it any more: rhbz #2216496.
STALE_CODE = b"int3: 0000 [#"
STALE = "its emulated processor ran code of the kernel that had been changed meanwhile"
# How a guest's kernel says goodbye on its console.
LAST_WORDS = (
    (PANIC, "its kernel panicked"),
    (b"reboot: Power down", "it powered itself off"),
    (b"reboot: System halted", "it halted itself"),
    (b"reboot: Restarting system", "it tried to reboot, which a throwaway machine cannot"),
)


class Console:
    """The end of what a guest's kernel said on its serial line. A guest may say any amount."""

    def __init__(self, line: socket.socket):
        self._tail = b""
        self._reader = threading.Thread(target=self._read, args=(line,), daemon=True)
        self._reader.start()

    def _read(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := line.recv(4096):
                self._tail = (self._tail + data)[-CONSOLE_BYTES:]

    def last_words(self) -> str | None:
        """Why the guest ended, if its kernel said so."""
        if self.was_misled():
            return STALE
        said = self.tail()
        return next((meaning for words, meaning in LAST_WORDS if words in said), None)

    def was_misled(self) -> bool:
        """Whether it panicked because the emulation failed it, by no doing of its own."""
        said = self.tail()
        return PANIC in said and STALE_CODE in said

    def report(self) -> str:
        """What the kernel said around its panic: of other ends there is nothing to explain."""
        lines = self.tail().splitlines()
        panic = next((number for number, line in enumerate(lines) if PANIC in line), None)
        if panic is None:
            return ""
        told = lines[max(0, panic - REPORT_LINES) : panic + REPORT_LINES]
        return b"\n".join(told).decode(errors="replace")

    def tail(self) -> bytes:
        self._reader.join(0.2)
        return self._tail
