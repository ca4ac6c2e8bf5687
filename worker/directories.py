"""Directories on this host that belong to one process, and whose they are.

Everything that a run keeps on disk is in one: the VM's overlay and the spooled logs. It names its
process, so that the janitor can tell a directory in use from one that was left behind.
"""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.processes import start_time

OWNER = "owner"
# Between making a directory and naming its owner.
SETTLE_SECONDS = 60
LOCK_SECONDS = 0.1


@contextmanager
def owned_directory(path: Path) -> Iterator[Path]:
    """A new directory of ours, removed with the block.

    An error leaves it behind: then what is in it may still be wanted, and the janitor decides.
    """
    make_owned(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def make_owned(path: Path) -> None:
    """Make a directory that says that it is ours; `is_in_use` for as long as we live."""
    # Nobody else on this host may read a job's disk and logs.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir()
    pid = os.getpid()
    (path / OWNER).write_text(f"{pid} {start_time(pid)}\n")


def is_in_use(path: Path) -> bool:
    """Whether the process that made the directory is still there."""
    try:
        pid, started = (path / OWNER).read_text().split()
    except (FileNotFoundError, ValueError):
        return _was_just_made(path)
    return start_time(int(pid)) == int(started)


def owner_of(path: Path) -> int | None:
    """The number of the process that made the directory; None if it is gone."""
    try:
        pid, started = (path / OWNER).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if start_time(int(pid)) == int(started) else None


def _was_just_made(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < SETTLE_SECONDS
    except FileNotFoundError:
        # Its owner has just removed it.
        return True


@contextmanager
def short_path(directory: Path) -> Iterator[str]:
    """A name of the directory that fits into a socket's address, however deep it is."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process of this host at a time is in a block with this lock file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever may open the file may hold the lock, so that nobody else may.
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def locked_patiently(path: Path, give_up: threading.Event) -> Iterator[bool]:
    """As `locked`, for a wait that may be long; whether the lock was had before `give_up` was set.

    The kernel's queue of waiters cannot be left but by a signal, so this asks again and again.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w") as lock:
        while not (has_it := _try_to_lock(lock.fileno())):
            if give_up.wait(LOCK_SECONDS):
                break
        yield has_it


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
