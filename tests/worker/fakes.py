"""A machine that costs nothing: the real agent on this host, in a directory of its own.

`fake_boot` stands where `worker.machines.start` does. tests/worker/test_guest.py holds its
guest to the contract of the real one.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildsrht import processes
from buildsrht.backend import Backend
from tests.build_host import claim
from worker import run_job
from worker.errors import Loss
from worker.guest import AgentGuest

HERE = Path(__file__).parent
START_SECONDS = 20


class FakeMachine:
    image_version = "fake-1"
    layer = None
    layer_is_new = False
    origin = "boot"
    has_packages = False
    freezable = None

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket, home: Path):
        self.guest = AgentGuest(channel)
        self.home = home
        self.pid = process.pid
        self._process = process
        self._channel = channel

    def kill(self) -> None:
        processes.stop(self._process, signal.SIGKILL, 5)
        self._channel.shutdown(socket.SHUT_RDWR)

    def explain_loss(self) -> Loss:
        return Loss("it was only a fake", was_killed=True)


@contextmanager
def fake_machine(directory: Path) -> Iterator[FakeMachine]:
    home = directory / "home"
    home.mkdir(parents=True)
    ours, theirs = socket.socketpair()
    with ours:
        process = processes.start(
            [
                *processes.dies_with_us(signal.SIGKILL),
                *(sys.executable, str(HERE / "fake_guest_agent.py"), str(theirs.fileno())),
                *(str(home), str(HERE / "fake_image")),
            ],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        machine = FakeMachine(process, ours, home)
        try:
            machine.guest.wait_until_up(time.monotonic() + START_SECONDS)
            yield machine
        finally:
            processes.stop(process, signal.SIGKILL, 5)


@contextmanager
def fake_boot(wanted):
    with fake_machine(wanted.directory / "vm") as machine, wanted.guard(machine.kill):
        yield machine


def perform(backend: Backend, job_id: int, start: run_job.Start) -> None:
    """Have this host take the job, whoever's turn it is, and run it."""
    run = claim(backend, job_id, backend.config.worker.name)
    if run:
        run_job.perform(backend, run, start)


# As RQ's work horse, but for the machine. The last thing it says is its peak of memory in KiB: the
# kernel's own count for this program, as getrusage() would include the process that started it.
WORK_HORSE = r"""
import re, sys
from pathlib import Path
from buildsrht import config
from buildsrht.backend import open_backend
from tests.worker.fakes import fake_boot, perform

perform(open_backend(config.load()), int(sys.argv[1]), fake_boot)
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def work_horse(backend: Backend, job_id: int, directory: Path) -> subprocess.Popen[str]:
    """Run a job on a fake machine in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", WORK_HORSE, str(job_id)],
        env=same_backend(backend, directory),
        stdout=subprocess.PIPE,
        text=True,
    )


def same_backend(backend: Backend, directory: Path) -> dict[str, str]:
    """Variables that give another process the same backend; its configuration is in `directory`."""
    config = backend.config
    path = directory / "config.ini"
    path.write_text(
        f"[database]\nurl = {config.database.url}\n[redis]\nurl = {config.redis.url}\n"
        f"[ssh]\npath = {config.ssh.path}\n[keys]\npath = {config.keys.path}\n"
        # The last section, so that options may be added to it.
        f"[storage]\npath = {config.storage.path}\n[worker]\npath = {config.worker.path}\n"
        # As if all were built here: nothing is booted.
        f"images = {' '.join(backend.catalogue.names)}\n"
    )
    return {**os.environ, "BUILDSRHT_CONFIG": str(path)}
