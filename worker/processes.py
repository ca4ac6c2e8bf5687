"""What this very process asks of the kernel."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Be killed when the process that forked us ends.

    RQ puts a work horse into a process group of its own, so whoever ends the worker's group
    misses it, and the machine it runs would go on.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # It ended before we asked.
        os.kill(os.getpid(), signal.SIGKILL)


def start_time(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None when there is no such process.

    With the pid it names one process for ever: pids are reused, this pair is not.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The command name, in parentheses, may itself hold spaces and parentheses.
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie holds nothing any more; only its number is still taken.
    return None if fields[0] == "Z" else int(fields[19])
