"""A spare: a machine that was continued from a snapshot before any job asked for it.

It has run one command, so that an emulated processor has translated what every job runs, and was
stopped: it takes up some memory and no processor time. Its keeper, a process of its own, lends it
to one run and destroys it when that run gives it back or dies.

    keeper:  <work>/spare-<id>-<pid>/socket  ◀── connect ──  run
                    the guest's channel      ─── a file descriptor ──▶
                    why was it lost?         ◀── "?" ──
                    what is it made of?      ◀── "=" ──
                    freeze it into this      ◀── "*", a file descriptor ──
                    gone, with all its files ─── end of file ──▶

The run makes it unlike any other before it is used, as with every clone.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from buildsrht.config import Config
from buildsrht.processes import die_with_parent
from worker import vm
from worker.directories import owned_directory, short_path
from worker.errors import Loss, MonitorError, RunnerError
from worker.guest import AgentGuest, Identity
from worker.images import BuiltImage
from worker.platforms import Platform, digest
from worker.qemu import Hardware
from worker.snapshots import Snapshot
from worker.vm import Body, Guard, Surroundings, Vm

log = logging.getLogger(__name__)

SOCKET = "socket"
LENT = "lent"
WARM_UP_SECONDS = 20
BORROW_SECONDS = 2
RETURN_SECONDS = 10
# Longer than its monitor takes at most.
FREEZE_SECONDS = 180
EXPLAIN, DESCRIBE, FREEZE = b"?", b"=", b"*"


def spare_id(config: Config, snapshot: Snapshot) -> str:
    """One snapshot, with one set of rules for its network."""
    rules = digest([str(destination) for destination in config.network.allow])
    return f"{snapshot.id}-{rules[:8]}"


def directory_of(config: Config, snapshot: Snapshot, keeper: int) -> Path:
    return config.worker.path / f"spare-{spare_id(config, snapshot)}-{keeper}"


# --- the keeper -----------------------------------------------------------------------------------


def keep(platform: Platform, snapshot: Snapshot) -> None:
    """Make one spare, lend it once, and return when it is gone. For a process of its own, which
    SIGTERM ends unless the spare is lent."""
    signal.signal(signal.SIGTERM, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    die_with_parent()
    snapshot.check()
    config = platform.config
    # Closing what is in the first tells the borrower that nothing is left of the others.
    with (
        ExitStack() as last,
        owned_directory(directory_of(config, snapshot, os.getpid())) as directory,
        contextlib.suppress(SystemExit),
    ):
        around = Surroundings(directory / "vm", config.network.allow)
        with vm.clone(snapshot, platform.image, platform.hardware, around) as machine:
            _warm_up(machine)
            borrower = last.enter_context(_await_borrower(directory))
            _lend(machine, borrower)


def _leave(*_: object) -> NoReturn:
    # Once: a second time would interrupt the clearing up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit()


def _warm_up(machine: Vm) -> None:
    # What is in a layer may be anything, also a shell that never ends.
    with vm.within(WARM_UP_SECONDS)(machine.kill):
        machine.guest.run(["bash", "-c", "true"], lambda _: None, terminal=True)
        machine.monitor.stop()


def _await_borrower(directory: Path) -> socket.socket:
    with socket.socket(socket.AF_UNIX) as listener, short_path(directory) as path:
        listener.bind(f"{path}/{SOCKET}")
        listener.listen(1)
        borrower, _ = listener.accept()
        # It is promised now, and SIGTERM comes too late.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (directory / SOCKET).unlink()
        (directory / LENT).touch()
        return borrower


def _lend(machine: Vm, borrower: socket.socket) -> None:
    machine.monitor.resume()
    with contextlib.suppress(ConnectionError):
        socket.send_fds(borrower, [b"!"], [machine.channel.fileno()])
        while True:
            question, descriptors, _, _ = socket.recv_fds(borrower, 1, 1)
            if not question:
                return
            borrower.sendall(_answer(machine, question, descriptors).encode() + b"\n")


def _answer(machine: Vm, question: bytes, descriptors: list[int]) -> str:
    if question == DESCRIBE:
        return json.dumps(_described(machine.body, machine.own_disk))
    if question == FREEZE:
        return _freeze(machine, descriptors[0])
    return json.dumps(machine.explain_loss())


def _described(body: Body, own_disk: Path) -> dict[str, Any]:
    return {
        "image": [body.image.name, body.image.arch, str(body.image.directory)],
        "hardware": asdict(body.hardware),
        "kernel": str(body.kernel) if body.kernel else None,
        "disks": [str(disk) for disk in body.disks],
        "names_memory": body.names_memory,
        "own_disk": str(own_disk),
    }


def _freeze(machine: Vm, sink: int) -> str:
    """How it went; nothing if all is well."""
    try:
        machine.freeze(sink)
    except (RunnerError, subprocess.SubprocessError) as error:
        return str(error).replace("\n", " ") or type(error).__name__
    finally:
        os.close(sink)
    return ""


# --- the run --------------------------------------------------------------------------------------


class Borrowed:
    """A spare that is ours now. `kill` may be called from any thread, any number of times."""

    def __init__(self, channel: socket.socket, keeper: socket.socket):
        self.guest = AgentGuest(channel)
        self._channel = channel
        self._keeper = keeper

    def kill(self) -> None:
        """Have it destroyed now. Whoever waits for its answer gets GuestLost."""
        for line, how in ((self._keeper, socket.SHUT_WR), (self._channel, socket.SHUT_RDWR)):
            with contextlib.suppress(OSError):
                line.shutdown(how)

    def explain_loss(self) -> Loss:
        answer = self._ask(EXPLAIN)
        return Loss(*json.loads(answer)) if answer else Loss("its keeper was killed", True)

    @property
    def body(self) -> Body:
        said = self._description
        image, arch, directory = said["image"]
        return Body(
            image=BuiltImage(image, arch, Path(directory)),
            hardware=Hardware(**said["hardware"]),
            kernel=Path(said["kernel"]) if said["kernel"] else None,
            disks=[Path(disk) for disk in said["disks"]],
            names_memory=said["names_memory"],
        )

    @property
    def own_disk(self) -> Path:
        return Path(self._description["own_disk"])

    @cached_property
    def _description(self) -> dict[str, Any]:
        answer = self._ask(DESCRIBE)
        if not answer:
            raise MonitorError("the keeper of the machine was killed")
        return dict(json.loads(answer))

    def freeze(self, sink: int) -> None:
        """Stop the machine for good and write its memory and devices to the open descriptor, which
        is for the caller to close. Raises MonitorError."""
        answer = self._ask(FREEZE, [sink], seconds=FREEZE_SECONDS)
        if answer != "":
            raise MonitorError(answer or "the keeper of the machine was killed")

    def _ask(
        self, question: bytes, descriptors: Sequence[int] = (), seconds: float = RETURN_SECONDS
    ) -> str | None:
        """One line; None if there is no answer."""
        try:
            self._keeper.settimeout(seconds)
            socket.send_fds(self._keeper, [question], descriptors)
            with self._keeper.makefile() as answers:
                line = answers.readline()
                return line.strip() if line.endswith("\n") else None
        except OSError:
            return None

    def await_end(self) -> None:
        """Return when nothing of it is left on this host, or after some seconds."""
        self.kill()
        with contextlib.suppress(OSError):
            self._keeper.settimeout(RETURN_SECONDS)
            while self._keeper.recv(1024):
                pass


@contextmanager
def borrow(config: Config, snapshot: Snapshot, guard: Guard) -> Iterator[Borrowed | None]:
    """A spare of that snapshot, for as long as the block runs; None if none is ready."""
    with ExitStack() as stack:
        for directory in config.worker.path.glob(f"spare-{spare_id(config, snapshot)}-*"):
            with ExitStack() as attempt:
                spare = _try_to_borrow(attempt, directory, guard)
                if spare:
                    stack.enter_context(attempt.pop_all())
                    break
        else:
            spare = None
        yield spare


def _try_to_borrow(stack: ExitStack, directory: Path, guard: Guard) -> Borrowed | None:
    try:
        keeper = stack.enter_context(_connected(directory))
        _, descriptors, _, _ = socket.recv_fds(keeper, 1, 1)
        channel = stack.enter_context(socket.socket(fileno=descriptors[0]))
        spare = Borrowed(channel, keeper)
        stack.callback(spare.await_end)
        stack.enter_context(guard(spare.kill))
        spare.guest.become(Identity.new(), time.monotonic() + vm.RESTORE_SECONDS)
        return spare
    except (OSError, IndexError, RunnerError) as error:
        # Somebody else was faster, or it is on its way out.
        log.debug("no spare from %s: %s", directory, error)
        return None


def _connected(directory: Path) -> socket.socket:
    keeper = socket.socket(socket.AF_UNIX)
    keeper.settimeout(BORROW_SECONDS)
    try:
        with short_path(directory) as path:
            keeper.connect(f"{path}/{SOCKET}")
    except OSError:
        keeper.close()
        raise
    return keeper
