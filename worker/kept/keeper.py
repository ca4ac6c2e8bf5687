"""The process in which a machine goes on while its owner looks into it.

It thaws the machine, lets visitors in by a socket, and in the end freezes it again, or ends it for
good. It depends on nobody who visits. If it is killed, so is the machine, and what was frozen
before is still there: only what was done since is lost.
"""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from buildsrht.backend import Backend
from buildsrht.config import Config
from buildsrht.errors import Gone, OperatorError
from buildsrht.services import kept as service
from worker import vm
from worker.directories import owned_directory, short_path
from worker.errors import TROUBLE, GuestLost, RunnerError
from worker.kept import frozen, keeping
from worker.kept.frozen import Freezable, Kept
from worker.kept.hosting import Fate, Hosting, Terms
from worker.kept.sessions import attending
from worker.vm import Surroundings, Vm

log = logging.getLogger(__name__)

ATTEND_SECONDS = 30
# Why a keeper gave up, for whoever waits for it.
TROUBLE_SAID = "trouble"
# What is wrong on the host is in the gateway's output; visitors need not know its paths.
OPERATORS_TROUBLE = "its key does not open on this host, which is for the operator to mend"
TO_BE_FROZEN = (Fate.IDLE, Fate.OVERDUE, Fate.STOPPED)
FOR_GOOD = (Fate.LEFT, Fate.SHUT_DOWN)


class Thawed(Freezable, Protocol):
    """What a keeper needs of a machine."""

    @property
    def ended_itself(self) -> bool: ...


# With the machine's key, into a directory for its files.
Thaw = Callable[[Backend, Kept, bytes, Path], AbstractContextManager[Thawed]]


@contextmanager
def thaw(backend: Backend, kept: Kept, key: bytes, directory: Path) -> Iterator[Vm]:
    around = Surroundings(directory / "vm", backend.config.network.allow)
    with vm.thaw(
        kept.body,
        lambda target: kept.write_disk(key, target),
        lambda: kept.memory(key),
        around,
    ) as machine:
        yield machine


def keep(backend: Backend, job_id: int, thaw: Thaw = thaw) -> None:
    """Have the machine of a job run for as long as somebody looks into it. Raises RunnerError or
    OperatorError when that is not possible, and whoever waits is told."""
    kept = frozen.find(backend.config, job_id)
    if kept is None:
        raise RunnerError(f"no machine of job {job_id} is kept here")
    kept.own(os.getpid())
    try:
        fate = _run(backend, kept, thaw)
    except OperatorError:
        (kept.directory / TROUBLE_SAID).write_text(OPERATORS_TROUBLE)
        raise
    except (*TROUBLE, Gone) as error:
        (kept.directory / TROUBLE_SAID).write_text(str(error) or type(error).__name__)
        raise
    finally:
        kept.socket.unlink(missing_ok=True)
        kept.disown()
    log.info("its machine: %s", fate.value)


def _run(backend: Backend, kept: Kept, thaw: Thaw) -> Fate:
    key = service.open_key(backend, kept.job_id)
    kept.tidy()
    directory = backend.config.worker.path / f"kept-{kept.job_id}-{os.getpid()}"
    with owned_directory(directory), thaw(backend, kept, key, directory) as machine:
        fate = asyncio.run(_host(backend, kept, machine))
        # From here on it takes as long as it takes, which is not for ever.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if fate in TO_BE_FROZEN and not kept.is_over:
            _freeze_again(backend, kept, key, machine)
        elif fate is Fate.LOST and machine.ended_itself:
            fate = Fate.SHUT_DOWN
    if fate in FOR_GOOD:
        keeping.end(backend, kept, fate.value)
    return fate


def _freeze_again(backend: Backend, kept: Kept, key: bytes, machine: Thawed) -> None:
    """What was frozen before stays, if this does not succeed."""
    try:
        if reason := frozen.shortage(backend.config, frozen.need_of(machine)):
            raise RunnerError(reason)
        kept.freeze(machine, key)
    except TROUBLE as error:
        log.warning("its machine is as it was before: %s", error)


async def _host(backend: Backend, kept: Kept, machine: Thawed) -> Fate:
    config = backend.config
    terms = Terms(linger=config.ssh.linger, longest=config.worker.job_timeout)
    async with attending(machine.guest, time.monotonic() + ATTEND_SECONDS) as sessions:
        hosting = Hosting(sessions, terms, lambda: _close(config, kept))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, hosting.stop)
        fate = await hosting.run(_listener(kept))
        # Whoever comes now waits for what comes of it.
        kept.socket.unlink(missing_ok=True)
        if fate in TO_BE_FROZEN:
            try:
                await sessions.quit()
            except GuestLost:
                return Fate.LOST
        return fate


def _listener(kept: Kept) -> socket.socket:
    """Whoever finds the socket can connect."""
    listener = socket.socket(socket.AF_UNIX)
    new = kept.socket.with_name(f".{kept.socket.name}")
    new.unlink(missing_ok=True)
    with short_path(kept.directory) as path:
        listener.bind(f"{path}/{new.name}")
    listener.listen()
    new.rename(kept.socket)
    return listener


def _close(config: Config, kept: Kept) -> bool:
    """Whether nobody finds the way in any more; not if somebody was shown it a moment ago."""
    with frozen.door(config):
        if time.time() < kept.socket.stat().st_mtime + config.ssh.linger:
            return False
        kept.socket.unlink()
        return True
