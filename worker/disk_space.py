"""Whether this host has room on its disk for another job.

A disk that runs full takes every running job with it, so intake stops some way before that. It is
a look at what is free now: nothing is set aside for the jobs that run.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from buildsrht.config import Config, size_text


def shortage(config: Config) -> str | None:
    """Why no job may be started on this host now; None when there is room."""
    path, reserve = config.worker.path, config.worker.disk_reserve
    free = free_bytes(path)
    if free >= reserve:
        return None
    return (
        f"{path}: {size_text(free)} free, below [worker] disk_reserve of {size_text(reserve)}; "
        "no job is started here until there is more"
    )


def free_bytes(path: Path) -> int:
    """What we may still write at `path`, or where it would be made."""
    for place in (path, *path.parents):
        with suppress(FileNotFoundError):
            return shutil.disk_usage(place).free
    raise FileNotFoundError(path)
