"""Tell one QEMU to save its machine to a file or to continue a saved one, over QMP.

Where the guest's memory is in a file of its own (see worker.qemu), the state that is saved here is
that of the devices only, and small; else it can be saved with its memory. The commands and
`x-ignore-shared` are QEMU's, see docs/interop/qemu-qmp-ref in its documentation.

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
# With its memory, which may be gigabytes, and as fast as whoever is at the other end takes it.
WHOLE_SECONDS = 120
NO_LIMIT = 2**40  # bytes a second


class Monitor:
    """The connection to one QEMU's monitor, a stream socket of which it holds the other end."""

    def __init__(self, line: socket.socket):
        self._qmp = QEMUMonitorProtocol(line)
        self._qmp.settimeout(ANSWER_SECONDS)
        self._is_connected = False

    def save(self, file: int, *, with_memory: bool = False) -> None:
        """Stop the machine and write its state to the open file. It stays stopped.

        Of what `file` is an end, such as a pipe, QEMU has closed its own when this returns.
        """
        with self._talking("save the machine"):
            self._qmp.cmd("stop")
            self._prepare(with_memory)
            self._qmp.send_fd_scm(file)
            self._qmp.cmd("getfd", fdname="state")
            self._qmp.cmd("migrate", uri="fd:state")
            self._await_completion(WHOLE_SECONDS if with_memory else ANSWER_SECONDS)

    def stop(self) -> None:
        """Let the guest's processors stand still."""
        with self._talking("stop the machine"):
            self._qmp.cmd("stop")

    def resume(self) -> None:
        with self._talking("resume the machine"):
            self._qmp.cmd("cont")

    def restore(self, file: int, *, with_memory: bool = False) -> None:
        """Load a state from the open file into a machine that waits for one, and let it run."""
        with self._talking("restore the machine"):
            self._prepare(with_memory)
            self._qmp.send_fd_scm(file)
            self._qmp.cmd("getfd", fdname="state")
            self._qmp.cmd("migrate-incoming", uri="fd:state")
            self._await_completion(WHOLE_SECONDS if with_memory else ANSWER_SECONDS)
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

    def _prepare(self, with_memory: bool) -> None:
        capabilities = [
            {"capability": "x-ignore-shared", "state": not with_memory},
            {"capability": "events", "state": True},
        ]
        self._qmp.cmd("migrate-set-capabilities", capabilities=capabilities)
        self._qmp.cmd("migrate-set-parameters", **{"max-bandwidth": NO_LIMIT})

    def _await_completion(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            event = self._qmp.pull_event(wait=left) or {}
            status = event.get("data", {}).get("status")
            if event.get("event") != "MIGRATION" or status not in ("completed", "failed"):
                continue
            if status == "completed":
                return
            raise MonitorError(f"QEMU failed to: {self._qmp.cmd('query-migrate')}")
        raise MonitorError(f"QEMU took longer than {seconds} s")
