"""Templates: for each image on this host's hardware, a booted machine at rest, saved once.

Every job's machine continues a template, or a layer made from one. A template is made when it is
first needed, by one process while the others wait. It is tried before it is used. One that turns
out damaged is dropped and made anew; one that cannot be made is done without for a while, and jobs
boot their image cold.

Knows nothing of jobs or of what is installed in a machine.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from worker import snapshots, vm
from worker.errors import TROUBLE, SnapshotBroken
from worker.platforms import Platform, alone, settle
from worker.snapshots import Snapshot
from worker.vm import Guard, Surroundings

log = logging.getLogger(__name__)

# After a failure; a host where it never works shall not try for every job.
RETRY_SECONDS = 600
# Beyond the boot, for whatever an image does until it is at rest, and for one command in a clone.
SETTLE_SECONDS = 180
TRIAL_SECONDS = 60


def home_of(platform: Platform) -> Path:
    return platform.config.snapshots.path / snapshots.TEMPLATES


def require(
    platform: Platform, say: Callable[[str], None], guard: Guard = vm.no_guard
) -> Snapshot | None:
    """The template, made now if there is none; None if it cannot be made, and `say` was told."""
    found = _find(platform, say)
    if found or _failed_lately(platform):
        return found
    with alone(home_of(platform) / f"{platform.key}.lock", guard):
        # Whoever had the lock before has made it, most likely, or has found that it cannot be.
        found = _find(platform, say)
        if found or _failed_lately(platform):
            return found
        return _try_to_build(platform, say, guard)


def _find(platform: Platform, say: Callable[[str], None]) -> Snapshot | None:
    return snapshots.find_or_drop(home_of(platform), platform.key, say)


def _try_to_build(platform: Platform, say: Callable[[str], None], guard: Guard) -> Snapshot | None:
    say(f"Booting {platform.image.name} once, for jobs to go on from.")
    try:
        return build(platform, guard)
    except TROUBLE as error:
        if vm.was_stopped(guard):
            raise
        log.warning("no snapshot of %s: %s", platform.image.name, error)
        say(f"No snapshot of {platform.image.name} could be made: {error}")
        _failure_note(platform).touch()
        return None


def build(platform: Platform, guard: Guard = vm.no_guard) -> Snapshot:
    """Boot the image, save it, try what was saved, and publish it."""
    home, key = home_of(platform), platform.key
    with snapshots.building(home, key) as directory:
        timeout = platform.config.worker.boot_timeout
        around = Surroundings(directory / "vm", guard=vm.within(timeout + SETTLE_SECONDS, guard))
        with vm.boot(
            platform.image,
            platform.hardware,
            around,
            timeout=timeout,
            to_be_saved=True,
        ) as machine:
            settle(machine.guest)
            machine.save(directory)
        made = {"at": time.time(), **platform.facts}
        _try_out(platform, snapshots.seal(directory, made), guard)
        return snapshots.publish(directory, home, key, made)


def _try_out(platform: Platform, candidate: Snapshot, guard: Guard) -> None:
    around = Surroundings(candidate.directory / "trial", guard=vm.within(TRIAL_SECONDS, guard))
    with vm.clone(candidate, platform.image, platform.hardware, around) as machine:
        status = machine.guest.run(["true"], lambda _: None)
    if status != 0:
        raise SnapshotBroken(f"a command in a clone of it ended with status {status}")


def _failure_note(platform: Platform) -> Path:
    return home_of(platform) / f"{platform.key}.failed"


def _failed_lately(platform: Platform) -> bool:
    try:
        age = time.time() - _failure_note(platform).stat().st_mtime
        # The clock may have been set back.
        return 0 <= age < RETRY_SECONDS
    except FileNotFoundError:
        return False
