"""One QEMU process: the throwaway virtual machine that one job runs in.

A VM belongs to one job and never outlives it: `boot()` is the only way to get one, and leaving
its block destroys the guest, its disk overlay and its network, however the block ended. Should
the work horse be killed, the kernel kills QEMU with it, and the janitor removes the directory.

Knows nothing of manifests, the database or HTTP, nor what the guest is told to do.
"""

import contextlib
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from buildsrht.config import Destination
from worker import network
from worker.errors import BootTimeout, GuestLost
from worker.guest import AgentGuest
from worker.images import BuiltImage

AGENT_PORT = "org.buildsrht.agent"
START_SECONDS = 20
# After the channel broke: how long QEMU may take to end, so that we can say why.
END_SECONDS = 5
CONSOLE_BYTES = 64 * 1024
# How a guest's kernel says goodbye on its console.
LAST_WORDS = (
    (b"Kernel panic", "its kernel panicked"),
    (b"reboot: Power down", "it powered itself off"),
    (b"reboot: System halted", "it halted itself"),
    (b"reboot: Restarting system", "it tried to reboot, which a throwaway machine cannot"),
)


# Within its block the function may be called, from any thread, to destroy the machine.
Guard = Callable[[Callable[[], None]], AbstractContextManager[None]]


def no_guard(kill: Callable[[], None]) -> AbstractContextManager[None]:
    """For a machine that nobody ends but its own block."""
    return nullcontext()


@dataclass(frozen=True)
class Machine:
    """What QEMU needs to know of a processor family."""

    binary: str
    options: tuple[str, ...]


MACHINES = {
    # q35 has the timers that microvm lacks; under emulation a kernel without one hangs at times.
    "amd64": Machine("qemu-system-x86_64", ("-machine", "q35")),
}
ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "max"),
}


@dataclass(frozen=True)
class Hardware:
    """The size of a VM, and what makes it run. Memory in bytes."""

    accelerator: str
    memory: int
    cpus: int


class Vm:
    """A running guest. `kill` may be called from any thread, any number of times."""

    def __init__(
        self, process: subprocess.Popen[bytes], channel: socket.socket, console: "Console"
    ):
        self._process = process
        self._channel = channel
        self._console = console
        self.guest = AgentGuest(channel)

    def kill(self) -> None:
        """Destroy the machine now. Whoever waits for its answer gets GuestLost."""
        self._process.kill()
        # QEMU may take a moment to die; whoever waits shall not.
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def explain_loss(self) -> str:
        """Why the machine is gone, for the log of its job."""
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "it stopped answering"
        said = self._console.tail()
        for words, meaning in LAST_WORDS:
            if words in said:
                return meaning
        return f"QEMU ended with status {status}"

    @property
    def console(self) -> str:
        return self._console.tail().decode(errors="replace")


@contextmanager
def boot(
    image: BuiltImage,
    hardware: Hardware,
    directory: Path,
    *,
    allow: Sequence[Destination] = (),
    timeout: float,
    guard: Guard = no_guard,
) -> Iterator[Vm]:
    """A VM of `image` that answers, kept in `directory` until the block ends.

    `guard` is entered as soon as there is a process to kill. A boot that does not succeed within
    `timeout` seconds is tried once more, because under emulation one in many hangs; after that it
    raises BootTimeout.
    """

    def attempt(stack: ExitStack) -> Vm:
        vm = stack.enter_context(_started(image, hardware, directory, allow))
        stack.enter_context(guard(vm.kill))
        _wait_until_up(vm, image, time.monotonic() + timeout)
        return vm

    with ExitStack() as stack:
        try:
            vm = attempt(stack)
        except BootTimeout:
            stack.close()
            vm = attempt(stack)
        yield vm


def _wait_until_up(vm: Vm, image: BuiltImage, deadline: float) -> None:
    try:
        vm.guest.wait_until_up(deadline)
    except (BootTimeout, GuestLost) as error:
        reason = str(error) or vm.explain_loss()
        console = vm.console.strip()
        raise BootTimeout(
            f"{image.name} did not come up: {reason}. Its console ends with:\n{console}"
        ) from error


@contextmanager
def _started(
    image: BuiltImage, hardware: Hardware, directory: Path, allow: Sequence[Destination]
) -> Iterator[Vm]:
    with ExitStack() as stack:
        stack.enter_context(_fresh_directory(directory))
        overlay = _make_overlay(image.disk, directory)
        channel, channel_end = _socket_pair(stack)
        console, console_end = _socket_pair(stack)
        far_ends = [channel_end.fileno(), console_end.fileno()]
        command = qemu_command(image, hardware, overlay, *far_ends)
        process = stack.enter_context(network.isolated(command, directory, allow, far_ends))
        # Only QEMU holds the far ends from here on, so its death closes them.
        channel_end.close()
        console_end.close()
        yield Vm(process, channel, Console(console))


@contextmanager
def _fresh_directory(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _make_overlay(disk: Path, directory: Path) -> Path:
    overlay = directory / "overlay.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk), str(overlay)],
        check=True,
        timeout=START_SECONDS,
    )
    return overlay


def _socket_pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Connected from the start and without a name in the file system, so nothing can be late,
    taken by somebody else, or left behind."""
    ours, theirs = socket.socketpair()
    return stack.enter_context(ours), stack.enter_context(theirs)


def qemu_command(
    image: BuiltImage, hardware: Hardware, overlay: Path, channel_fd: int, console_fd: int
) -> list[str]:
    machine = MACHINES[image.arch]
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    return [
        machine.binary,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *machine.options,
        *ACCELERATORS[hardware.accelerator],
        *("-smp", str(hardware.cpus), "-m", f"{hardware.memory // 2**20}M"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", image.cmdline),
        # Nothing of an overlay is worth keeping, so no write waits for the host's disk.
        "-drive",
        f"id=root,file={overlay},format=qcow2,if=none,cache=unsafe,discard=unmap",
        *("-device", "virtio-blk-pci,drive=root"),
        *("-netdev", f"user,id=net,net={network.GUEST_NETWORK},ipv6=off"),
        *("-device", f"virtio-net-pci,netdev=net,mac={mac},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,fd={channel_fd}"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
        *("-chardev", f"socket,id=console,fd={console_fd}", "-serial", "chardev:console"),
    ]


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

    def tail(self) -> bytes:
        self._reader.join(0.2)
        return self._tail
