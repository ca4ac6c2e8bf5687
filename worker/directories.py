"""Directories on this host that belong to one process, and whose they are.

Everything that a run keeps on disk is in one: the VM's overlay and the spooled logs. It names its
process, so that the janitor can tell a directory in use from one that was left behind.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.processes import start_time

OWNER = "owner"
# Between making a directory and naming its owner.
SETTLE_SECONDS = 60


@contextmanager
def owned_directory(path: Path) -> Iterator[Path]:
    """A new directory of ours, removed with the block.

    An error leaves it behind: then what is in it may still be wanted, and the janitor decides.
    """
    # Nobody else on this host may read a job's disk and logs.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir()
    pid = os.getpid()
    (path / OWNER).write_text(f"{pid} {start_time(pid)}\n")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def is_in_use(path: Path) -> bool:
    """Whether the process that made the directory is still there."""
    try:
        pid, started = (path / OWNER).read_text().split()
    except (FileNotFoundError, ValueError):
        return _was_just_made(path)
    return start_time(int(pid)) == int(started)


def _was_just_made(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < SETTLE_SECONDS
    except FileNotFoundError:
        # Its owner has just removed it.
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process of this host at a time is in a block with this lock file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever may open the file may hold the lock, so that nobody else may.
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
