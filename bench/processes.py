"""What processes take from the host, as /proc tells."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
# One that has just ended: the process, or the answer to what was asked of it.
GONE = (FileNotFoundError, ProcessLookupError)
KILOBYTE = 1024  # what /proc calls kB
MEGABYTE = 1_000_000


def children(pid: int) -> list[int]:
    found = []
    with suppress(*GONE):
        for thread in (PROC / str(pid) / "task").iterdir():
            found += (thread / "children").read_text().split()
    return [int(child) for child in found]


def descendants(pid: int) -> Iterator[int]:
    """The children of a process, theirs, and so on."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, and of those of its children that it has waited for."""
    with suppress(*GONE):
        # After the name, which may contain anything, and ends at the last bracket: proc(5).
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def shared_memory(pid: int) -> float:
    """MB; what several processes share is divided among them (the kernel's Pss)."""
    return _field(PROC / str(pid) / "smaps_rollup", "Pss")


def memory_of_children() -> float:
    """MB that our descendants take together. What they share is counted once: it is divided among
    them (the kernel's Pss)."""
    return sum(map(shared_memory, descendants(os.getpid())))


def available_memory() -> float:
    """MB that the host could still give to others."""
    return _field(PROC / "meminfo", "MemAvailable")


def resident_memory(pid: int) -> float:
    return _field(PROC / str(pid) / "status", "VmRSS")


def open_files(pid: int) -> int:
    return len(os.listdir(PROC / str(pid) / "fd"))


def command_line(pid: int) -> list[str]:
    with suppress(*GONE):
        return (PROC / str(pid) / "cmdline").read_text().split("\0")
    return []


def _field(file: Path, name: str) -> float:
    with suppress(*GONE):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * KILOBYTE / MEGABYTE
    return 0.0
