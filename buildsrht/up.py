"""Run several services together, in the foreground, as one.

`run()` starts them in order and keeps them until somebody asks us to stop or one of them ends by
itself; then it stops all of them, the last one first. None outlives us, even if we are killed, and
none is hit by a Ctrl-C meant for us. Their output is theirs: it goes where ours goes.

Knows nothing of what the services do.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from buildsrht import processes


@dataclass(frozen=True)
class Service:
    """A process that is meant to run until we stop it. Without `env` it gets our own."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None


@contextmanager
def stop_requests() -> Iterator[int]:
    """A file descriptor that is readable once SIGINT or SIGTERM has arrived.

    Within the block these signals interrupt nothing, so whatever starts or stops there does so
    completely, and an impatient second Ctrl-C does no harm.
    """
    requested = os.eventfd(0, os.EFD_CLOEXEC)
    previous = {
        number: signal.signal(number, lambda *_: os.eventfd_write(requested, 1))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(requested)


def run(services: Iterable[Service], stop_requested: int, grace_seconds: float = 15) -> int:
    """Run `services` until `stop_requested` is readable (0), or until one ends by itself (1).

    Each then has `grace_seconds` after SIGTERM before it is killed with all that it started.
    """
    with ExitStack() as running:
        started = {
            running.enter_context(_running(service, grace_seconds)): service.name
            for service in services
        }
        ended = _first_to_end(started, stop_requested)
        if ended is None:
            return 0
        processes.stop(ended, signal.SIGTERM, grace_seconds)
        print(
            f"{started[ended]} ended by itself ({_how(ended.returncode)}); stopping the rest",
            file=sys.stderr,
            flush=True,
        )
        return 1


@contextmanager
def _running(service: Service, grace_seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    command = [*processes.dies_with_us(signal.SIGKILL), *service.command]
    process = processes.start(command, env=service.env)
    try:
        yield process
    finally:
        processes.stop(process, signal.SIGTERM, grace_seconds)


def _first_to_end(
    started: Iterable[subprocess.Popen[bytes]], stop_requested: int
) -> subprocess.Popen[bytes] | None:
    """Wait for the first of `started` to end; None when we are asked to stop before that."""
    with ExitStack() as open_files:
        waiting_for = {}
        for process in started:
            file = os.pidfd_open(process.pid)
            open_files.callback(os.close, file)
            waiting_for[file] = process
        readable, _, _ = select.select([stop_requested, *waiting_for], [], [])
    return None if stop_requested in readable else waiting_for[readable[0]]


def _how(returncode: int) -> str:
    return f"killed by signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
