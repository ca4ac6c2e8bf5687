"""Keep the snapshots of this host within their space and their time.

Whatever is removed can be made again, so this is only about being useful: what was not used for the
longest time goes first. Machines that run from a removed snapshot have its files open and go on.
"""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from buildsrht.config import Config
from worker import snapshots
from worker.disk_space import free_bytes
from worker.snapshots import Snapshot

log = logging.getLogger(__name__)


def prune(config: Config) -> None:
    """Drop layers whose time is over, templates of images that are gone, and then as many as the
    size that is allowed, or a disk that runs full, asks for."""
    kept = []
    for snapshot in _all(config):
        if is_over(snapshot, config):
            _drop(snapshot, "its time is over")
        else:
            kept.append(snapshot)
    for snapshot in surplus(kept, config.snapshots.size, _missing(config)):
        _drop(snapshot, "others need its space")


def _all(config: Config) -> list[Snapshot]:
    return [each for home in snapshots.homes(config) for each in snapshots.all_in(home)]


def is_over(snapshot: Snapshot, config: Config) -> bool:
    built = snapshot.made.get("built")
    if built is None or not Path(built).exists():
        return True
    is_layer = "packages" in snapshot.made
    return is_layer and time.time() > snapshot.made_at + config.snapshots.layer_lifetime


def _missing(config: Config) -> int:
    """Bytes that the snapshots' disk lacks of what the operator wants to be free."""
    return max(config.worker.disk_reserve - free_bytes(config.snapshots.path), 0)


def surplus(found: Iterable[Snapshot], allowed: int, missing: int) -> list[Snapshot]:
    """What has to go so that the rest takes at most `allowed` bytes and `missing` ones get free:
    first what was not used for the longest time."""
    found = sorted(found, key=lambda snapshot: snapshot.last_used)
    sizes = [snapshot.size() for snapshot in found]
    too_much = max(sum(sizes) - allowed, missing)
    going = []
    for snapshot, size in zip(found, sizes, strict=True):
        if too_much <= 0:
            break
        going.append(snapshot)
        too_much -= size
    return going


def _drop(snapshot: Snapshot, reason: str) -> None:
    log.info("removing snapshot %s: %s", snapshot.key, reason)
    snapshots.drop_this(snapshot)
