"""The processes of a service, each kept running as an operator's init system does: what ends is
started again a second later.

A part that is held down stays down until it is let up. Threads of one process do it, which start
children that end with it.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from buildsrht import processes

RESTART_SECONDS = 1.0
STOP_SECONDS = 90


class Part:
    """One process that is meant to run for ever. What it says goes to a file of its name."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path
    ):
        self.name = name
        self._command = command
        self._environment = environment
        self._output = logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._is_up = threading.Event()
        self._is_over = False
        self._lock = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self) -> None:
        self._is_up.set()
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        with self._lock:
            process = self._process
        return process.pid if process and process.poll() is None else None

    def signal(self, number: signal.Signals) -> None:
        """To the process itself, and to none that it started."""
        if pid := self.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def hold_down(self) -> None:
        self._is_up.clear()

    def let_up(self) -> None:
        self._is_up.set()

    def stop(self) -> None:
        """For good: ask the process, and after a while end all of its group."""
        if not self._keeper.is_alive():
            return
        self._is_over = True
        self._is_up.set()
        self.signal(signal.SIGTERM)
        self._keeper.join(STOP_SECONDS)
        with self._lock:
            process = self._process
        if process:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._keeper.join(STOP_SECONDS)

    def _keep(self) -> None:
        while not self._is_over:
            self._is_up.wait()
            with self._output.open("ab") as output:
                process = processes.start(
                    [*processes.dies_with_us(signal.SIGKILL), *self._command],
                    env=self._environment,
                    stdout=output,
                    stderr=output,
                )
            with self._lock:
                self._process = process
            process.wait()
            if not self._is_over:
                time.sleep(RESTART_SECONDS)


def descendants(pid: int) -> list[int]:
    """Every process below this one, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
