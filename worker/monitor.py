"""Tell one QEMU to save its machine to a file or to continue a saved one, over QMP.

The guest's memory is in a file of its own (see worker.qemu), so the state that is saved here is
that of the devices only, and small. The commands and `x-ignore-shared` are QEMU's, see
docs/interop/qemu-qmp-ref in its documentation.

Knows nothing of processes or of what a guest does. Any trouble is a MonitorError.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from qemu.qmp import QMPError
from qemu.qmp.legacy import QEMUMonitorProtocol

from worker.errors import MonitorError

# For anything that QEMU does by itself; saving and loading take a few hundredths of a second.
ANSWER_SECONDS = 30


class Monitor:
    """The connection to one QEMU's monitor, a stream socket of which it holds the other end."""

    def __init__(self, line: socket.socket):
        self._qmp = QEMUMonitorProtocol(line)
        self._qmp.settimeout(ANSWER_SECONDS)
        self._is_connected = False

    def save(self, file: int) -> None:
        """Stop the machine and write its state to the open file. It stays stopped."""
        with self._talking("save the machine"):
            self._qmp.cmd("stop")
            self._prepare()
            self._qmp.send_fd_scm(file)
            self._qmp.cmd("getfd", fdname="state")
            self._qmp.cmd("migrate", uri="fd:state")
            self._await_completion()

    def stop(self) -> None:
        """Let the guest's processors stand still."""
        with self._talking("stop the machine"):
            self._qmp.cmd("stop")

    def resume(self) -> None:
        with self._talking("resume the machine"):
            self._qmp.cmd("cont")

    def restore(self, file: int) -> None:
        """Load a state from the open file into a machine that waits for one, and let it run."""
        with self._talking("restore the machine"):
            self._prepare()
            self._qmp.send_fd_scm(file)
            self._qmp.cmd("getfd", fdname="state")
            self._qmp.cmd("migrate-incoming", uri="fd:state")
            self._await_completion()
            self._qmp.cmd("cont")

    def close(self) -> None:
        # QEMU may be gone already, which the library takes for an error.
        with contextlib.suppress(QMPError, OSError, EOFError, asyncio.TimeoutError):
            self._qmp.close()

    @contextmanager
    def _talking(self, what: str) -> Iterator[None]:
        try:
            if not self._is_connected:
                self._qmp.connect()
                self._is_connected = True
            yield
        except (TimeoutError, QMPError, OSError, EOFError) as error:
            said = str(error) or type(error).__name__
            raise MonitorError(f"QEMU did not {what}: {said}") from error

    def _prepare(self) -> None:
        capabilities = [
            {"capability": "x-ignore-shared", "state": True},
            {"capability": "events", "state": True},
        ]
        self._qmp.cmd("migrate-set-capabilities", capabilities=capabilities)

    def _await_completion(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            event = self._qmp.pull_event(wait=left) or {}
            status = event.get("data", {}).get("status")
            if event.get("event") != "MIGRATION" or status not in ("completed", "failed"):
                continue
            if status == "completed":
                return
            raise MonitorError(f"QEMU failed to: {self._qmp.cmd('query-migrate')}")
        raise MonitorError(f"QEMU took longer than {ANSWER_SECONDS} s")
