"""Whether this host has memory for another guest.

A host that runs out of memory kills one of its guests or worse, so intake stops some way before
that. It is a look at what is available now: guests that run may still grow.
"""

import os
from pathlib import Path

from buildsrht.config import Config, size_text

MEMINFO = Path("/proc/meminfo")
# Of the whole memory, what guests may be promised. They take up what they use, mostly much less.
SHARE = 0.75


def shortage(config: Config, meminfo: Path = MEMINFO) -> str | None:
    """Why no job may be started on this host now; None when there is memory for it."""
    free, reserve = available(meminfo), config.worker.memory_reserve
    if free >= reserve:
        return None
    return (
        f"{size_text(free)} of memory available, below [worker] memory_reserve of "
        f"{size_text(reserve)}; no job is started here until there is more"
    )


def available(meminfo: Path = MEMINFO) -> int:
    """Bytes that programs may take without hurting others."""
    return _read(meminfo, "MemAvailable")


def slots(config: Config, meminfo: Path = MEMINFO) -> int:
    """How many jobs this host can run at once by its memory and its processors; at least one.

    A guest keeps its processors busy only now and then, so that each of the host's is promised
    twice.
    """
    by_memory = int(_read(meminfo, "MemTotal") * SHARE) // config.worker.memory
    by_processors = len(os.sched_getaffinity(0)) * 2 // config.worker.cpus
    return max(1, min(by_memory, by_processors))


def _read(meminfo: Path, name: str) -> int:
    """Bytes; the kernel writes kB and means KiB."""
    for line in meminfo.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"{meminfo} has no {name}")
