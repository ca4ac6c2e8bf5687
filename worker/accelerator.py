"""Whether this host's QEMU may use KVM: found by booting a guest, remembered.

/dev/kvm can open, answer and create a machine on a host where no guest ever runs, so nothing less
than a guest that answered is proof. The verdict holds until QEMU, the kernel or the device
changes.
"""

import json
import logging
import os
import platform
import shutil
import tempfile
from pathlib import Path

from buildsrht.config import Config
from worker import vm
from worker.directories import owned_directory
from worker.errors import BootTimeout, RunnerError
from worker.images import BuiltImage
from worker.qemu import KVM_DEVICE, MACHINES, Hardware, Machine

log = logging.getLogger(__name__)

TRIAL_SECONDS = 60
REMEMBERED = "accelerator.json"


def choose_accelerator(config: Config, image: BuiltImage, guard: vm.Guard = vm.no_guard) -> str:
    """`kvm` or `tcg`: what the operator says, else what a trial boot of `image` proved. A processor
    that is not this host's own can only be emulated.

    `guard` may end a trial, as it may a boot; then nothing is remembered. Raises RunnerError where
    there is no QEMU for the image's processor.
    """
    machine = _require_machine(image)
    if machine.native_to != platform.machine():
        return "tcg"
    if config.worker.accelerator != "auto":
        return config.worker.accelerator
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    circumstances = _circumstances(machine)
    memory = config.images.path / REMEMBERED
    remembered = _recall(memory)
    if remembered.get("circumstances") == circumstances:
        return str(remembered["accelerator"])
    accelerator = "kvm" if _kvm_boots(config, image, guard) else "tcg"
    _remember(memory, {"circumstances": circumstances, "accelerator": accelerator})
    return accelerator


def known(config: Config) -> str | None:
    """What images for this host's own processor run on, as far as it is known without a trial."""
    if config.worker.accelerator != "auto":
        return config.worker.accelerator
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return "tcg"
    found = _recall(config.images.path / REMEMBERED).get("accelerator")
    return str(found) if found else None


def _require_machine(image: BuiltImage) -> Machine:
    machine = MACHINES.get(image.arch)
    if machine is None:
        known = ", ".join(MACHINES)
        raise RunnerError(f"{image.name}: {image.arch} is none of the processors {known}")
    if shutil.which(machine.binary) is None:
        raise RunnerError(f"{image.name} ({image.arch}) needs {machine.binary}, which is not here")
    return machine


def _circumstances(machine: Machine) -> list[object]:
    """What a verdict depends on."""
    return [*program_identity(machine.binary), platform.release()]


def program_identity(name: str) -> list[object]:
    """Which build of a program it is, at the price of a look at its file. Asking QEMU for its
    version takes as long as to restore a machine."""
    path = os.path.realpath(shutil.which(name) or name)
    stat = os.stat(path)
    return [path, stat.st_size, stat.st_mtime_ns]


def _kvm_boots(config: Config, image: BuiltImage, guard: vm.Guard) -> bool:
    hardware = Hardware("kvm", config.worker.memory, config.worker.cpus)
    with owned_directory(config.worker.path / f"trial-{os.getpid()}") as directory:
        try:
            around = vm.Surroundings(directory / "vm", guard=guard)
            with vm.boot(image, hardware, around, timeout=TRIAL_SECONDS):
                log.info("KVM works here: a trial guest booted")
                return True
        except BootTimeout as error:
            # A trial that somebody ended says nothing about this host.
            if vm.was_stopped(guard):
                raise
            log.warning("KVM does not work here, guests are emulated: %s", error)
            return False


def _recall(memory: Path) -> dict[str, object]:
    try:
        return dict(json.loads(memory.read_text()))
    except (OSError, ValueError):
        return {}


def _remember(memory: Path, verdict: dict[str, object]) -> None:
    # Two workers may both try and both write; each writes the truth, and renaming is atomic.
    with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
        json.dump(verdict, file)
    os.rename(file.name, memory)
