"""What a build host needs besides the service: one finding for each thing, as in buildsrht/checks.

`look` tries what a job would need, a network for a guest included, and starts no machine; `judge`
turns what it met into findings and touches nothing.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsrht import catalogue
from buildsrht.checks import Finding, bad, doubtful, good, judging
from buildsrht.checks.looking import Room, Trouble, at_directory, look
from buildsrht.config import Config
from worker import accelerator, cgroups, images, memory, network
from worker.qemu import KVM_DEVICE

# What a run starts, and the Debian packages that bring it. Which QEMU it is, its image says.
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "setpriv": "util-linux",
    "slirp4netns": "slirp4netns",
    "unshare": "util-linux",
}
# For saving snapshots, keeping machines and building an image.
LEAST_FREE = 2**30


@dataclass(frozen=True)
class Image:
    """An image of the recipes that this host has, or is told to have."""

    name: str
    arch: str
    is_built: bool
    is_fresh: bool


@dataclass(frozen=True)
class Host:
    """What was met on this host. `accelerator` is None where nobody needed to know yet."""

    missing: Sequence[str]
    rooms: Mapping[str, Room | Trouble]
    accelerator: str | None
    kvm_is_there: bool
    kvm_is_open: bool
    images: Sequence[Image] | Trouble
    network: Trouble | None
    unlimited: str | None
    slots: int


def check(config: Config) -> Iterator[Finding]:
    yield from judge(config, find_out(config))


def find_out(config: Config) -> Host:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    places = {
        "[worker] path": config.worker.path,
        "[images] path": config.images.path,
        "[snapshots] path": config.snapshots.path,
        "[ssh] path": config.ssh.path,
    }
    return Host(
        missing=missing,
        rooms={option: at_directory(path) for option, path in places.items()},
        accelerator=accelerator.known(config),
        kvm_is_there=KVM_DEVICE.exists(),
        kvm_is_open=os.access(KVM_DEVICE, os.R_OK | os.W_OK),
        images=look(lambda: _images(config)),
        network=None if missing else look(lambda: _try_network(config)),
        unlimited=cgroups.explain(),
        slots=memory.slots(config),
    )


def _images(config: Config) -> list[Image]:
    found = []
    for image in catalogue.load(config.images.recipes).images:
        for arch in image.arches:
            is_built = images.find_built(config, image.name, arch) is not None
            if is_built or image.name in config.worker.images:
                is_fresh = is_built and images.is_fresh(config, image, arch)
                found.append(Image(image.name, arch, is_built, is_fresh))
    return found


def _try_network(config: Config) -> None:
    """As of a guest, with nothing in it."""
    with tempfile.TemporaryDirectory(prefix="buildsrht-check-") as place:
        nothing = ["sleep", "60"]
        with network.isolated(nothing, Path(place), config.network.allow, (), lambda _: None):
            pass


# --- judging --------------------------------------------------------------------------------------


def judge(config: Config, host: Host) -> Iterator[Finding]:
    yield _programs(host)
    for option, room in host.rooms.items():
        least = config.worker.disk_reserve if option == "[worker] path" else LEAST_FREE
        yield judging.directory(option, room, least)
    yield _accelerator(config, host)
    yield from _built(host)
    if not host.missing:
        yield _network(host)
    yield _limits(host)
    yield _slots(config, host)


def _programs(host: Host) -> Finding:
    if host.missing:
        said = ", ".join(f"{name} (Debian's {PROGRAMS[name]})" for name in host.missing)
        return bad("programs", f"not found: {said}; `make setup` installs them")
    return good("programs", f"all {len(PROGRAMS)} that runs need are here")


def _accelerator(config: Config, host: Host) -> Finding:
    what = "accelerator"
    if config.worker.accelerator == "kvm" and not host.kvm_is_open:
        return bad(what, f"[worker] accelerator is kvm, and {_kvm_lacks(host)}")
    if host.accelerator == "kvm":
        return good(what, "KVM")
    if host.accelerator is None:
        return good(what, "the first machine will show whether KVM works")
    if config.worker.accelerator == "tcg":
        return good(what, "guests are emulated, as [worker] accelerator says")
    why = "a trial guest did not boot with KVM" if host.kvm_is_open else _kvm_lacks(host)
    return doubtful(what, f"guests are emulated, which is slow: {why}")


def _kvm_lacks(host: Host) -> str:
    if host.kvm_is_there:
        return f"{KVM_DEVICE} is not open to this user; is it in the group kvm?"
    return f"there is no {KVM_DEVICE}"


def _built(host: Host) -> Iterator[Finding]:
    if isinstance(host.images, Trouble):
        yield bad("images", host.images.said)
        return
    if not host.images:
        yield bad("images", "none is built here, so no job runs: `buildsrht image build`")
    for image in host.images:
        said = f"{image.name} ({image.arch})"
        remedy = f"`buildsrht image build {image.name} --arch {image.arch}`"
        if not image.is_built:
            yield bad("image", f"{said} is in [worker] images, and not built here: {remedy}")
        elif not image.is_fresh:
            yield doubtful("image", f"{said} is older than its recipe: {remedy}")
        else:
            yield good("image", f"{said} is built")


def _network(host: Host) -> Finding:
    if host.network:
        return bad("guests' network", host.network.said)
    return good("guests' network", "one was made and removed")


def _limits(host: Host) -> Finding:
    if host.unlimited:
        return doubtful("control groups", host.unlimited)
    return good("control groups", "guests are held to memory, processors and processes")


def _slots(config: Config, host: Host) -> Finding:
    wanted = config.worker.count or host.slots
    said = f"{wanted} at once"
    if wanted > host.slots:
        return doubtful("jobs", f"{said}; memory and processors of this host serve {host.slots}")
    return good("jobs", said)
