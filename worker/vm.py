"""One QEMU process: the throwaway virtual machine that one job runs in.

A VM belongs to one job: `boot()` and `clone()` are the only ways to get a new one. Leaving their
block destroys the guest, its disk and its network, however the block ended. Should the work horse
be killed, the kernel kills QEMU with it, and the janitor removes the directory.

`boot()` starts an image from cold; `clone()` continues a snapshot of one, which takes a hundredth
of the time. Either way the guest answers, and is unlike any other, when it is handed over.

A machine may be frozen: stopped for good, memory and all written to somewhere. `thaw()` is how the
very same machine goes on, and the third way to get one.

Knows nothing of manifests, the database or HTTP, nor what the guest is told to do.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from buildsrht.config import Destination
from worker import network, qemu
from worker.cgroups import Limits, limited
from worker.confinement import confined
from worker.console import Console
from worker.errors import (
    BootTimeout,
    GuestLost,
    GuestRefused,
    Loss,
    MachineKilled,
    MonitorError,
    SnapshotBroken,
)
from worker.guest import AgentGuest, Identity
from worker.hardships import Hardships
from worker.images import BuiltImage
from worker.monitor import Monitor
from worker.qemu import Hardware
from worker.snapshots import Snapshot
from worker.sparse import copy_sparsely

START_SECONDS = 20
# After the channel broke: how long QEMU may take to end, so that we can say why.
END_SECONDS = 5
# A snapshot that does not answer by then is taken for broken; most do in a tenth of a second.
RESTORE_SECONDS = 30
# An overlay's own tables, on top of what it holds.
OVERLAY_EXTRA = 2**28
# What QEMU itself may use beside the guest's memory; under emulation up to 1 GiB is for translated
# code.
MEMORY_EXTRA = 3 * 2**29
# A continued machine has its kernel in its memory. QEMU wants one all the same, to have the devices
# that go with it, looks at its header, and keeps all of it in memory of its own.
KERNEL_HEAD = 2**16
# QEMU's threads and the network's process.
PROCESSES = 256
# Within its block the function may be called, from any thread, to destroy the machine.
Guard = Callable[[Callable[[], None]], AbstractContextManager[None]]


def no_guard(kill: Callable[[], None]) -> AbstractContextManager[None]:
    """For a machine that nobody ends but its own block."""
    return nullcontext()


def was_stopped(guard: Guard) -> bool:
    """Whether whoever may end the machine has done so."""
    stopped = threading.Event()
    with guard(stopped.set):
        return stopped.is_set()


def within(seconds: float, guard: Guard = no_guard) -> Guard:
    """A guard that also destroys the machine itself when the time is over."""

    @contextmanager
    def both(kill: Callable[[], None]) -> Iterator[None]:
        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            with guard(kill):
                yield
        finally:
            timer.cancel()

    return both


@dataclass(frozen=True)
class Surroundings:
    """Where a machine is kept, whom it may talk to, and who may end it."""

    directory: Path
    allow: Sequence[Destination] = ()
    guard: Guard = no_guard


@dataclass(frozen=True)
class _Files:
    """What a machine starts from. `disks` are as in qemu.Parts, the last one its own."""

    kernel: Path | None
    initrd: Path | None
    disks: Sequence[Path]
    memory: Path | None = None
    shares_memory: bool = False
    is_continued: bool = False
    # Its memory has a name to QEMU, also without a file.
    names_memory: bool = False


@dataclass(frozen=True)
class Body:
    """What is needed, beside a frozen machine's memory and its own disk, to have it go on.

    `disks` lie over the image's own, lowest first, below the machine's.
    """

    image: BuiltImage
    hardware: Hardware
    kernel: Path | None
    disks: Sequence[Path]
    names_memory: bool


class Vm:
    """A running guest. `kill` may be called from any thread, any number of times."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        directory: Path,
        body: Body,
        files: _Files,
        channel: socket.socket,
        console: Console,
        monitor: Monitor,
        hardships: socket.socket,
    ):
        self._process = process
        self._directory = directory
        self._files = files
        self.body = body
        self.channel = channel
        self._console = console
        self.monitor = monitor
        self.guest = AgentGuest(channel)
        self._hardships = Hardships(hardships, self.kill)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Destroy the machine now. Whoever waits for its answer gets GuestLost."""
        self._process.kill()
        # QEMU may take a moment to die; whoever waits shall not.
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def save(self, directory: Path) -> None:
        """Stop the machine for good and leave in `directory` what a snapshot consists of.

        Only for one that was started to be saved. Raises MonitorError, and FileNotFoundError when
        the snapshot that it continued was dropped meanwhile.
        """
        state = directory / "state"
        with _opened(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            self.monitor.save(file)
        # From here on nobody writes to them any more.
        self._process.kill()
        self._process.wait(END_SECONDS)
        assert self._files.memory, "this machine was not started to be saved"
        self._files.memory.rename(directory / "memory")
        for number, disk in enumerate(self._files.disks[1:], 1):
            os.link(disk, directory / f"disk-{number}.qcow2")
        _make_overlay(self._files.disks[0], directory / "empty.qcow2")
        if self._files.kernel:
            with self._files.kernel.open("rb") as kernel:
                (directory / "kernel").write_bytes(kernel.read(KERNEL_HEAD))

    @property
    def own_disk(self) -> Path:
        """What it has written; whole once it is frozen."""
        return self._files.disks[-1]

    def freeze(self, sink: int) -> None:
        """Stop the machine for good and write its memory and devices to the open descriptor, which
        is for the caller to close. Raises MonitorError."""
        try:
            self.monitor.save(sink, with_memory=True)
        finally:
            # Whoever reads what is written waits for the end of it.
            self._process.kill()
            self._process.wait(END_SECONDS)

    @property
    def ended_itself(self) -> bool:
        """Whether the guest was shut down, rather than lost by this host."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_SECONDS) == 0 or self._console.last_words() is not None
        return False

    @property
    def was_killed(self) -> bool:
        """Whether somebody ended it by SIGKILL, which is no signal of its own."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(END_SECONDS) == -signal.SIGKILL
        return False

    def explain_loss(self) -> Loss:
        """Why the machine is gone, for the log of its job."""
        if self._hardships.reason:
            return Loss(self._hardships.reason, was_killed=True)
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return Loss("it stopped answering", was_killed=False)
        if words := self._console.last_words():
            misled = self._console.was_misled()
            return Loss(words, was_killed=misled, report=self._console.report())
        ended = f"QEMU ended with status {status}. {self._last_error()}".rstrip()
        return Loss(ended, was_killed=status != 0)

    def _last_error(self) -> str:
        lines = network.said_by(self._directory).splitlines()
        return lines[-1] if lines else ""

    @property
    def console(self) -> str:
        return self._console.tail().decode(errors="replace")


@contextmanager
def boot(
    image: BuiltImage,
    hardware: Hardware,
    around: Surroundings,
    *,
    timeout: float,
    to_be_saved: bool = False,
) -> Iterator[Vm]:
    """A VM of `image` that answers.

    The guard is entered as soon as there is a process to kill. A boot that does not succeed within
    `timeout` seconds is tried once more, because under emulation one in many hangs; after that it
    raises BootTimeout.
    """

    def attempt(stack: ExitStack) -> Vm:
        directory = stack.enter_context(_fresh_directory(around.directory))
        files = _Files(
            kernel=image.kernel,
            initrd=image.initrd,
            disks=[image.disk, _make_overlay(image.disk, directory / "overlay.qcow2")],
            memory=_make_memory(directory, hardware.memory) if to_be_saved else None,
            shares_memory=to_be_saved,
        )
        vm = stack.enter_context(_started(image, hardware, files, around))
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
        vm.guest.become(Identity.new(), deadline)
    except (BootTimeout, GuestLost, GuestRefused) as error:
        reason = str(error) or vm.explain_loss().reason
        console = vm.console.strip()
        raise BootTimeout(
            f"{image.name} did not come up: {reason}. Its console ends with:\n{console}"
        ) from error


@contextmanager
def clone(
    snapshot: Snapshot,
    image: BuiltImage,
    hardware: Hardware,
    around: Surroundings,
    *,
    to_be_saved: bool = False,
) -> Iterator[Vm]:
    """A VM that continues `snapshot`, which was made of that very image and hardware.

    Raises SnapshotBroken when it does not come back to life, and MachineKilled when somebody saw to
    that.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(_fresh_directory(around.directory))
        try:
            files = _clone_files(snapshot, image, directory, to_be_saved)
            vm = stack.enter_context(_started(image, hardware, files, around))
            _wake_unless_killed(vm, snapshot)
        except MachineKilled:
            raise
        except (MonitorError, BootTimeout, GuestLost, GuestRefused) as error:
            reason = str(error) or "its machine ended at once"
            raise SnapshotBroken(f"snapshot {snapshot.key}: {reason}") from error
        except FileNotFoundError as error:
            if snapshot.directory not in Path(error.filename or "/").parents:
                raise
            raise SnapshotBroken(f"snapshot {snapshot.key} was dropped") from error
        yield vm


def _wake_unless_killed(vm: Vm, snapshot: Snapshot) -> None:
    """A machine that somebody killed meanwhile says nothing of its snapshot."""
    try:
        _wake(vm, snapshot)
    except (MonitorError, BootTimeout, GuestLost, GuestRefused) as error:
        if vm.was_killed:
            raise MachineKilled("QEMU was killed while it continued a machine.") from error
        raise


def _clone_files(
    snapshot: Snapshot, image: BuiltImage, directory: Path, to_be_saved: bool
) -> _Files:
    overlay = Path(shutil.copy(snapshot.empty_disk, directory / "overlay.qcow2"))
    memory = snapshot.memory
    if to_be_saved:
        memory = directory / "memory"
        copy_sparsely(snapshot.memory, memory)
        _open_to_confined(memory)
    return _Files(
        kernel=snapshot.kernel,
        initrd=None,
        disks=[image.disk, *snapshot.disks, overlay],
        memory=memory,
        shares_memory=to_be_saved,
        is_continued=True,
    )


@contextmanager
def thaw(
    body: Body,
    write_disk: Callable[[Path], None],
    memory: Callable[[], AbstractContextManager[int]],
    around: Surroundings,
) -> Iterator[Vm]:
    """The machine that was frozen, going on where it stood still; its clock is right.

    `write_disk` makes its own disk, and within the block of `memory` there is a descriptor to read
    what was written to the sink. Raises MonitorError, BootTimeout and GuestLost when it does not
    come back to life, and whatever those two raise.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(_fresh_directory(around.directory))
        overlay = directory / "overlay.qcow2"
        write_disk(overlay)
        files = _Files(
            kernel=body.kernel,
            initrd=None,
            disks=[body.image.disk, *body.disks, overlay],
            is_continued=True,
            names_memory=body.names_memory,
        )
        vm = stack.enter_context(_started(body.image, body.hardware, files, around))
        with memory() as source:
            try:
                vm.monitor.restore(source, with_memory=True)
            except MonitorError:
                # Whoever writes waits for somebody to read.
                vm.kill()
                raise
        vm.guest.wake(time.monotonic() + RESTORE_SECONDS)
        yield vm


def _wake(vm: Vm, snapshot: Snapshot) -> None:
    with _opened(snapshot.state, os.O_RDONLY) as file:
        vm.monitor.restore(file)
    vm.guest.become(Identity.new(), time.monotonic() + RESTORE_SECONDS)


@contextmanager
def _started(
    image: BuiltImage, hardware: Hardware, files: _Files, around: Surroundings
) -> Iterator[Vm]:
    with ExitStack() as stack, ExitStack() as theirs:
        channel, channel_end = _socket_pair(stack, theirs)
        console, console_end = _socket_pair(stack, theirs)
        monitor, monitor_end = _socket_pair(stack, theirs)
        hardships, hardships_end = _socket_pair(stack, theirs)
        parts = qemu.Parts(
            name=str(around.directory),
            kernel=_open_for(theirs, files.kernel),
            initrd=_open_for(theirs, files.initrd),
            cmdline=image.cmdline,
            disks=[
                *(theirs.enter_context(_opened(disk, os.O_RDONLY)) for disk in files.disks[:-1]),
                theirs.enter_context(_opened(files.disks[-1], os.O_RDWR)),
            ],
            agent=channel_end.fileno(),
            console=console_end.fileno(),
            monitor=monitor_end.fileno(),
            hardships=hardships_end.fileno(),
            memory=_memory(files, theirs),
            incoming=files.is_continued,
        )
        command = qemu.command(image.arch, hardware, parts)
        command = confined(
            command,
            file_size=image.disk.stat().st_size + OVERLAY_EXTRA,
            device=qemu.KVM_DEVICE if hardware.accelerator == "kvm" else None,
        )
        # Around all the rest: when it ends, nothing is left in it.
        group = stack.enter_context(limited(around.directory.parent.name, _limits(hardware)))
        process = stack.enter_context(
            network.isolated(command, around.directory, around.allow, parts.descriptors, group.add)
        )
        # Only QEMU holds the far ends from here on, so its death closes them.
        theirs.close()
        connected = stack.enter_context(contextlib.closing(Monitor(monitor)))
        body = Body(image, hardware, files.kernel, files.disks[1:-1], parts.memory is not None)
        said = Console(console)
        vm = Vm(process, around.directory, body, files, channel, said, connected, hardships)
        stack.enter_context(around.guard(vm.kill))
        yield vm


def _limits(hardware: Hardware) -> Limits:
    return Limits(hardware.memory + MEMORY_EXTRA, hardware.cpus, PROCESSES)


def _memory(files: _Files, stack: ExitStack) -> qemu.Memory | None:
    if files.memory is None:
        return qemu.Memory(None, shared=False) if files.names_memory else None
    return qemu.Memory(stack.enter_context(_opened(files.memory, os.O_RDONLY)), files.shares_memory)


def _open_for(stack: ExitStack, path: Path | None) -> int | None:
    return stack.enter_context(_opened(path, os.O_RDONLY)) if path else None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _fresh_directory(directory: Path) -> Iterator[Path]:
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _make_memory(directory: Path, size: int) -> Path:
    path = directory / "memory"
    with path.open("wb") as file:
        file.truncate(size)
    _open_to_confined(path)
    return path


def _open_to_confined(memory: Path) -> None:
    """QEMU opens its memory itself, to write, also where it maps it privately. It is handed the
    file; nobody else finds it, as the directories above are closed to all but us."""
    memory.chmod(0o666)


def _make_overlay(disk: Path, overlay: Path) -> Path:
    """An empty disk of the same size. What it lies over, only qemu.command() says."""
    size = disk.stat().st_size
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", str(overlay), str(size)],
        check=True,
        timeout=START_SECONDS,
    )
    return overlay


def _socket_pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Connected from the start and without a name in the file system, so nothing can be late,
    taken by somebody else, or left behind."""
    near, far = socket.socketpair()
    return ours.enter_context(near), theirs.enter_context(far)
