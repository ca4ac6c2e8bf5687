"""A QEMU of the benchmark's own: nothing around it, for what is compared with the service.

It has the devices, accelerator, memory and processors of a job's machine, because its command line
is the same; but no namespace, no limits, no confinement, and QEMU's own network.
"""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildsrht import processes
from worker import qemu
from worker.console import Console
from worker.guest import AgentGuest
from worker.monitor import Monitor
from worker.platforms import Platform
from worker.snapshots import Snapshot
from worker.vm import within

STOP_SECONDS = 10


@dataclass(frozen=True)
class PlainQemu:
    monitor: Monitor
    guest: AgentGuest


@contextmanager
def started(
    platform: Platform,
    disks: Sequence[Path],
    seconds: float,
    *,
    continued: Snapshot | None = None,
    forward: int | None = None,
) -> Iterator[PlainQemu]:
    """Until the block ends, or for `seconds`. `disks` lie over the image's; the last is written to.

    With a snapshot it waits to be told to continue that; else it boots. The port `forward` of the
    host's loopback leads to the guest's ssh.
    """
    with ExitStack() as stack, ExitStack() as theirs:
        agent, agent_end = _socket_pair(stack, theirs)
        console, console_end = _socket_pair(stack, theirs)
        monitor, monitor_end = _socket_pair(stack, theirs)
        image = platform.image
        lower = [image.disk, *disks[:-1]]
        parts = qemu.Parts(
            name="bench",
            kernel=_opened(theirs, continued.kernel if continued else image.kernel),
            initrd=None if continued else _opened(theirs, image.initrd),
            cmdline=image.cmdline,
            disks=[*(_opened(theirs, disk) for disk in lower), _opened(theirs, disks[-1], "r+b")],
            agent=agent_end.fileno(),
            console=console_end.fileno(),
            monitor=monitor_end.fileno(),
            memory=(
                qemu.Memory(_opened(theirs, continued.memory), shared=False) if continued else None
            ),
            incoming=continued is not None,
        )
        command = qemu.command(image.arch, platform.hardware, parts)
        if forward:
            _forward_ssh(command, forward)
        process = processes.start(
            [*processes.dies_with_us(signal.SIGKILL), *command], pass_fds=parts.descriptors
        )
        stack.callback(processes.stop, process, signal.SIGKILL, STOP_SECONDS)
        stack.enter_context(within(seconds)(process.kill))
        # Only QEMU holds the far ends from here on, so its death wakes whoever waits for it.
        theirs.close()
        # Read by nobody, but a full socket would hold the boot up.
        Console(console)
        yield PlainQemu(stack.enter_context(closing(Monitor(monitor))), AgentGuest(agent))


def _forward_ssh(command: list[str], port: int) -> None:
    command[command.index("-netdev") + 1] += f",hostfwd=tcp:127.0.0.1:{port}-:22"


def _socket_pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    return ours.enter_context(near), theirs.enter_context(far)


def _opened(stack: ExitStack, path: Path, mode: str = "rb") -> int:
    file = stack.enter_context(path.open(mode))
    os.set_inheritable(file.fileno(), True)
    return file.fileno()
