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
FAILED = "BLOCK_IO_ERROR"


class Hardships:
    """Calls `destroy`, from a thread of its own, when the host has failed the guest."""

    def __init__(self, line: socket.socket, destroy: Callable[[], None]):
        self.reason: str | None = None
        self._line = line
        self._destroy = destroy
        threading.Thread(target=self._listen, daemon=True, name="hardships").start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self._line.makefile() as said:
            self._line.sendall(BEGIN)
            for text in said:
                self._hear(text)

    def _hear(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(text)
            if event.get("event") == FAILED and self.reason is None:
                why = event["data"].get("reason", "an error")
                self.reason = f"the disk of the build host failed it: {why}"
                self._destroy()
