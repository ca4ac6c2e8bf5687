"""What the host does to a guest: QEMU says so unasked on a line that is only listened to.

A write that the host cannot take, because its disk is full or broken, is the host's failure. A
guest that went on with it would have lost what it believes to have written, and its tasks would
fail of that later, by nobody's fault that anybody could see. So QEMU stops such a machine, and
whoever listens here has it destroyed.

The events are QEMU's, see docs/interop/qemu-qmp-ref in its documentation. Knows nothing else of
QEMU.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Callable

BEGIN = b'{"execute": "qmp_capabilities"}\n'
# A QEMU that its guest has taken over shall not fill this process's memory, or a log.
MOST_BYTES = 64 * 1024
MOST_CHARACTERS = 200


class Hardships:
    """Calls `destroy`, from a thread of its own, when the host has failed the guest."""

    def __init__(self, line: socket.socket, destroy: Callable[[], None]):
        self.reason: str | None = None
        self._line = line
        self._destroy = destroy
        threading.Thread(target=self._listen, daemon=True, name="hardships").start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self._line.makefile("rb") as said:
            self._line.sendall(BEGIN)
            while line := said.readline(MOST_BYTES):
                if len(line) == MOST_BYTES:
                    self._give_up("its QEMU says what no QEMU says")
                    break
                if why := _failure(line):
                    self._give_up(f"the disk of the build host failed it: {why}")

    def _give_up(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            self._destroy()


def _failure(line: bytes) -> str | None:
    """Why the host failed the guest, if that is what the line says."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match event:
        case {"event": "BLOCK_IO_ERROR", "data": {"reason": str(why)}}:
            return why[:MOST_CHARACTERS]
        case {"event": "BLOCK_IO_ERROR"}:
            return "an error"
    return None
