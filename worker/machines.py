"""The machine for one run: from a package layer, else from a template, else booted cold. Of a layer
or a template there may be a spare.

Every way leads to the same: a guest of the image that nobody used before. What does not work is
said in one line of the job's log, and the next way is taken.
"""

import logging
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from buildsrht.config import Config
from buildsrht.manifest import Manifest
from buildsrht.services.phases import Name as Phase
from worker import images, layers, snapshots, templates, vm
from worker.accelerator import choose_accelerator
from worker.errors import TROUBLE, Loss, MachineKilled, RunnerError, SnapshotBroken
from worker.guest import Guest
from worker.kept.frozen import Freezable
from worker.logbook import Logbook, OutputLimitReached
from worker.platforms import Platform
from worker.qemu import Hardware
from worker.snapshots import Snapshot
from worker.spares import Borrowed, borrow
from worker.vm import Guard, Surroundings, Vm

log = logging.getLogger(__name__)


def tell_nobody(phase: Phase) -> None:
    """For whoever wants a machine and need not know how far that has come."""


@dataclass(frozen=True)
class Wanted:
    """What a run wants, where its files may be, who may end it while it starts and runs, and who is
    told what goes on."""

    config: Config
    image: str
    arch: str
    manifest: Manifest
    directory: Path
    logbook: Logbook
    guard: Guard
    begin: Callable[[Phase], None] = tell_nobody


class Origin(StrEnum):
    """Where a machine comes from."""

    SPARE = "spare"
    SNAPSHOT = "snapshot"
    BOOT = "boot"


@dataclass(frozen=True)
class Started:
    """A machine, which build of its image it is from, and the layer with the manifest's packages,
    if it comes from one; `layer_is_new` if that was made for this job."""

    vm: Vm | Borrowed
    image_version: str
    origin: Origin
    layer: str | None = None
    layer_is_new: bool = False

    @property
    def has_packages(self) -> bool:
        return self.layer is not None

    @property
    def guest(self) -> Guest:
        return self.vm.guest

    @property
    def freezable(self) -> Freezable:
        return self.vm

    def explain_loss(self) -> Loss:
        return self.vm.explain_loss()


@contextmanager
def start(wanted: Wanted) -> Iterator[Started]:
    platform = find_platform(wanted.config, wanted.image, wanted.arch, wanted.guard)
    around = Surroundings(wanted.directory / "vm", wanted.config.network.allow, wanted.guard)
    with ExitStack() as stack:
        yield _continue(stack, platform, wanted, around) or _boot(stack, platform, around)


def find_platform(config: Config, image: str, arch: str, guard: Guard = vm.no_guard) -> Platform:
    """The image on this host. Raises ImageMissing."""
    built = images.require_built(config, image, arch)
    accelerator = choose_accelerator(config, built, guard)
    return Platform(config, built, Hardware(accelerator, config.worker.memory, config.worker.cpus))


def _continue(
    stack: ExitStack, platform: Platform, wanted: Wanted, around: Surroundings
) -> Started | None:
    """A machine that continues a snapshot, if there is one that can be continued. No trouble with
    snapshots is a reason for a job to fail."""
    if not platform.config.snapshots.enabled:
        return None
    try:
        return _from_snapshot(stack, platform, wanted, around)
    except (OutputLimitReached, MachineKilled):
        raise
    except (*TROUBLE, LookupError, TypeError, ValueError) as error:
        if vm.was_stopped(wanted.guard):
            raise
        log.warning("no machine from a snapshot", exc_info=True)
        wanted.logbook.say(f"No machine from a snapshot: {error or type(error).__name__}")
        return None


def _from_snapshot(
    stack: ExitStack, platform: Platform, wanted: Wanted, around: Surroundings
) -> Started | None:
    logbook = wanted.logbook
    template = templates.require(platform, logbook.say, wanted.guard)
    if template is None:
        return None
    # Whatever is made of it needs it.
    template.note_use()
    if layers.are_wanted(platform, wanted.manifest):
        wanted.begin(Phase.PACKAGES)
        layer = layers.require(platform, template, wanted.manifest, logbook, wanted.guard)
        wanted.begin(Phase.STARTING)
        if layer and (machine := _clone(stack, layer.snapshot, platform, wanted, around)):
            version, key = platform.image.version, layer.snapshot.key
            return Started(machine, version, _origin(machine), key, layer.is_new)
    machine = _clone(stack, template, platform, wanted, around)
    return Started(machine, platform.image.version, _origin(machine)) if machine else None


def _origin(machine: Vm | Borrowed) -> Origin:
    return Origin.SPARE if isinstance(machine, Borrowed) else Origin.SNAPSHOT


def _clone(
    stack: ExitStack,
    snapshot: Snapshot,
    platform: Platform,
    wanted: Wanted,
    around: Surroundings,
) -> Vm | Borrowed | None:
    try:
        spare = stack.enter_context(borrow(wanted.config, snapshot, wanted.guard))
        machine = spare or stack.enter_context(
            vm.clone(snapshot, platform.image, platform.hardware, around)
        )
        snapshot.note_use()
        return machine
    except SnapshotBroken as error:
        if vm.was_stopped(wanted.guard):
            raise
        wanted.logbook.say(f"{error}. The next job makes it anew.")
        snapshots.drop_this(snapshot)
        return None


def _boot(stack: ExitStack, platform: Platform, around: Surroundings) -> Started:
    timeout = platform.config.worker.boot_timeout
    try:
        machine = stack.enter_context(
            vm.boot(platform.image, platform.hardware, around, timeout=timeout)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RunnerError(f"{platform.image.name} could not be started: {error}") from error
    return Started(machine, platform.image.version, Origin.BOOT)
