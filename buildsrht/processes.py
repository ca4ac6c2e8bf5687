"""Start a child process that cannot outlive us, and end one for certain.

A child leads a session of its own: Ctrl-C in the terminal reaches us alone, and we end the child
together with whatever it started. If we are killed, the kernel signals it in our stead.

Knows nothing of what the child does.
"""

import ctypes
import os
import resource
import select
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def dies_with_us(last_signal: signal.Signals) -> list[str]:
    """The start of a command line: the kernel sends `last_signal` when we are gone.

    A process that changes its credentials loses this, so it goes after whatever does that.
    """
    return ["setpriv", f"--pdeathsig={last_signal.name.removeprefix('SIG')}", "--"]


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own; `options` are those of subprocess.Popen.

    To be called from a thread that lives as long as the child: where the kernel says "when the
    parent dies", it means that thread.
    """
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)


def has_ended(pid: int, wait_seconds: float = 0) -> bool:
    """Whether the process is gone, or goes within `wait_seconds`. An unreaped zombie is gone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], wait_seconds)[0])
    finally:
        os.close(process)


def stop(process: subprocess.Popen[bytes], ask: signal.Signals, grace_seconds: float) -> None:
    """Ask what `start` started to end, with its children; wait; insist. Harmless if repeated."""
    if process.returncode is not None:
        return
    os.killpg(process.pid, ask)
    has_ended(process.pid, grace_seconds)
    # Even if it ended by itself: children that it left behind are still in its group. And until
    # wait() has reaped it, nobody else can get the group's number.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def leave_no_core() -> None:
    """Should this process crash, nothing of its memory is kept: there are secrets in it."""
    # 1 is too little for any file, and with it Linux starts no program that collects cores either,
    # as it does for 0. Who is held to 0 may not have 1.
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def die_with_parent() -> None:
    """Be killed when the process that forked us ends.

    RQ puts a work horse into a process group of its own, so whoever ends the worker's group
    misses it, and what it runs would go on.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It ended before we asked.
        os.kill(os.getpid(), signal.SIGKILL)
