"""Package layers: a template in which a manifest's repositories and packages are installed, saved.

A layer is keyed by its template, the repositories and the set of packages. It is made by a machine
of its own, which sees nothing else of the job that asks first: no secret, no source, no variable,
no owner. Jobs that ask for the same while it is made wait for it. A set of packages that includes
another layer's is installed on top of that one.

A layer lives for `[snapshots] layer_lifetime`, so that packages stay fresh.
"""

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from buildsrht.manifest import Manifest
from worker import packages, snapshots, vm
from worker.errors import TROUBLE
from worker.logbook import Logbook, OutputLimitReached
from worker.platforms import Platform, alone, digest, settle
from worker.snapshots import Snapshot
from worker.vm import Guard, Surroundings

log = logging.getLogger(__name__)

# Each layer on top of another is one more file that its machines read through.
MOST_DISKS = 8


def home_of(platform: Platform) -> Path:
    return platform.config.snapshots.path / snapshots.LAYERS


def are_wanted(platform: Platform, manifest: Manifest) -> bool:
    installs = bool(manifest.packages or manifest.repositories)
    return installs and manifest.layers and platform.config.snapshots.layers


class Layer(NamedTuple):
    """What has a manifest's packages; `is_new` if it was made for this job."""

    snapshot: Snapshot
    is_new: bool


def require(
    platform: Platform, template: Snapshot, manifest: Manifest, logbook: Logbook, guard: Guard
) -> Layer | None:
    """The layer for this manifest, made now if there is none; None if it cannot be made, and the
    log says why. Raises JobFailed when the installation fails."""
    key = _key(template, manifest)
    layer = _find(platform, key, logbook)
    if layer is None:
        with alone(home_of(platform) / f"{key}.lock", guard):
            layer = _find(platform, key, logbook)
            if layer is None:
                made = _try_to_build(platform, template, manifest, logbook, guard)
                return Layer(made, is_new=True) if made else None
    logbook.say(_announcement(layer))
    return Layer(layer, is_new=False)


def _key(template: Snapshot, manifest: Manifest) -> str:
    return digest([template.key, _repositories(manifest), sorted(set(manifest.packages))])


def _repositories(manifest: Manifest) -> str:
    """Their digest: an address may hold a password."""
    return digest(list(manifest.repositories.items()))


def _announcement(layer: Snapshot) -> str:
    made = datetime.fromtimestamp(layer.made_at, UTC).isoformat(timespec="seconds")
    return (
        f"Packages are from the layer {layer.key}, made at {made}; installing them took"
        f" {layer.made['seconds']:.0f} s. `layers: false` in the manifest installs them anew."
    )


def _find(platform: Platform, key: str, logbook: Logbook) -> Snapshot | None:
    layer = snapshots.find_or_drop(home_of(platform), key, logbook.say)
    return layer if layer and is_fresh(layer, platform.config.snapshots.layer_lifetime) else None


def is_fresh(layer: Snapshot, lifetime: float) -> bool:
    # The clock may have been set back.
    return 0 <= time.time() - layer.made_at < lifetime


def _try_to_build(
    platform: Platform, template: Snapshot, manifest: Manifest, logbook: Logbook, guard: Guard
) -> Snapshot | None:
    try:
        return _build(platform, template, manifest, logbook, guard)
    except OutputLimitReached:
        raise
    except TROUBLE as error:
        if vm.was_stopped(guard):
            raise
        log.warning("no package layer: %s", error)
        logbook.say(f"The packages could not be kept as a layer: {error}")
        return None


def _build(
    platform: Platform, template: Snapshot, manifest: Manifest, logbook: Logbook, guard: Guard
) -> Snapshot:
    home, key = home_of(platform), _key(template, manifest)
    base = _best_base(platform, template, manifest)
    begun = time.monotonic()
    with snapshots.building(home, key) as directory:
        around = Surroundings(directory / "vm", platform.config.network.allow, guard)
        with vm.clone(base, platform.image, platform.hardware, around, to_be_saved=True) as machine:
            packages.add_repositories(machine.guest, manifest, logbook)
            packages.install_packages(machine.guest, manifest, logbook)
            settle(machine.guest)
            machine.save(directory)
        made = {
            # As old as its oldest package.
            "at": time.time() if base is template else base.made_at,
            "seconds": time.monotonic() - begun,
            **platform.facts,
            "template": template.key,
            "repositories": _repositories(manifest),
            "packages": sorted(set(manifest.packages)),
        }
        return snapshots.publish(directory, home, key, made)


def _best_base(platform: Platform, template: Snapshot, manifest: Manifest) -> Snapshot:
    """The layer with most of the packages and none besides, else the template."""
    layers = _bases(snapshots.all_in(home_of(platform)), platform, template, manifest)
    return max(layers, key=lambda layer: len(layer.made["packages"]), default=template)


def _bases(
    layers: Iterable[Snapshot], platform: Platform, template: Snapshot, manifest: Manifest
) -> Iterable[Snapshot]:
    for layer in layers:
        if (
            layer.made.get("template") == template.key
            and layer.made.get("repositories") == _repositories(manifest)
            and set(layer.made["packages"]) < set(manifest.packages)
            and len(layer.disks) < MOST_DISKS
            and is_fresh(layer, platform.config.snapshots.layer_lifetime)
            and layer.is_intact()
        ):
            yield layer
