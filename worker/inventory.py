"""What there is on this build host, for its administrators to look at: plain JSON.

    slots         {all, busy, paused}, or null while Redis is away
    disk          {free, reserve}: bytes at `[worker] path`, and how many of them are to stay free
    memory        {available, reserve}: the same of this host's memory
    accelerator   kvm or tcg; null while nobody needed to know
    images        [{name, arch, version, built}]: what jobs start from
    labels        what jobs may ask of it besides
    templates     [{key, image, arch, size, made, used}], what was used last first
    layers        the same, and {packages}, their names in short
    spares        how many machines stand ready
    kept          how many machines of failed jobs are kept for their owners

Sizes are bytes and times seconds since the epoch. Only looks: what goes while it does is left out.
"""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from buildsrht.backend import Backend
from buildsrht.config import Config
from worker import accelerator, images, memory, snapshots, spares
from worker.disk_space import free_bytes
from worker.kept import frozen
from worker.snapshots import LAYERS, TEMPLATES, Snapshot

# Of a layer's packages, so many are named.
NAMED = 6


def take(backend: Backend) -> dict[str, Any]:
    config = backend.config
    saved = config.snapshots.path
    return {
        "slots": _slots(backend),
        "disk": {
            "free": free_bytes(config.worker.path),
            "reserve": config.worker.disk_reserve,
        },
        "memory": {"available": memory.available(), "reserve": config.worker.memory_reserve},
        "accelerator": accelerator.known(config),
        "images": list(_images(backend)),
        "labels": list(config.worker.labels),
        "templates": [_template(each) for each in _by_use(saved / TEMPLATES)],
        "layers": [_layer(each) for each in _by_use(saved / LAYERS)],
        "spares": _count_spares(config),
        "kept": len(frozen.all_kept(config)),
    }


def _slots(backend: Backend) -> dict[str, int] | None:
    try:
        return backend.queue.slots(host=socket.gethostname())._asdict()
    except RedisError:
        return None


def _images(backend: Backend) -> Iterator[dict[str, Any]]:
    for image in backend.catalogue.images:
        for arch in image.arches:
            built = images.find_built(backend.config, image.name, arch)
            if built:
                yield {
                    "name": image.name,
                    "arch": arch,
                    "version": built.version,
                    "built": built.directory.stat().st_mtime,
                }


def _by_use(home: Path) -> list[Snapshot]:
    found = snapshots.all_in(home)
    return sorted(found, key=lambda snapshot: snapshot.last_used, reverse=True)


def _template(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "key": snapshot.key,
        "image": snapshot.made.get("image"),
        "arch": snapshot.made.get("arch"),
        "size": snapshot.size(),
        "made": snapshot.made_at,
        "used": snapshot.last_used,
    }


def _layer(snapshot: Snapshot) -> dict[str, Any]:
    return {**_template(snapshot), "packages": _in_short(snapshot.made.get("packages", []))}


def _in_short(packages: Sequence[str]) -> str:
    rest = len(packages) - NAMED
    return " ".join(packages[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _count_spares(config: Config) -> int:
    """Those that nobody has borrowed, and that are not still being made."""
    return sum(1 for _ in config.worker.path.glob(f"spare-*/{spares.SOCKET}"))
