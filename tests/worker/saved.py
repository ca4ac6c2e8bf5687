"""Saved machines for tests: plain small files, copies of real ones, and pretended ones.

A pretended machine is a fake one (tests/worker/fakes.py) whose memory is what was installed in it,
so that it can be saved and continued in a moment.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht import config as settings
from buildsrht import manifest as manifests
from buildsrht.config import Config
from tests.worker.fakes import FakeMachine, fake_machine
from worker import snapshots, vm
from worker.errors import Loss
from worker.machines import Wanted
from worker.snapshots import Snapshot

IMAGE = "debian/trixie"


class Said:
    """A logbook that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.output = b""

    def say(self, line: str) -> None:
        self.lines.append(line)

    def write(self, data: bytes) -> None:
        self.output += data

    def about(self, *words: str) -> list[str]:
        """The lines in which one of the words is."""
        return [line for line in self.lines if any(word in line for word in words)]


def small_snapshot(home: Path, key: str, *, size: int = 4096, **made) -> Snapshot:
    """A snapshot of files that no QEMU has seen."""
    with snapshots.building(home, key) as directory:
        for name in ("memory", "state", "disk-1.qcow2", "empty.qcow2"):
            (directory / name).write_bytes(name[:1].encode() * size)
        return snapshots.publish(directory, home, key, {"at": time.time(), **made})


def copy_snapshot(snapshot: Snapshot, home: Path) -> Snapshot:
    """The same once more, its seal unbroken, for a test to do with as it likes."""

    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = ["cp", "--archive", "--sparse=always", str(snapshot.directory), str(home)]
    subprocess.run(copy, check=True, timeout=60)
    found = snapshots.find(home, snapshot.key)
    assert found
    return found


def overwrite(path: Path, data: bytes = b"damaged " * 512, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def overwrite_secretly(path: Path) -> None:
    """So that neither size nor time tells."""
    before = path.stat()
    overwrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of its own, which is soon full."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


# --- pretended machines ---------------------------------------------------------------------------


class PretendedVm:
    def __init__(self, machine: FakeMachine, lower_disks: Sequence[Path]):
        self.lower_disks = lower_disks
        self.guest = machine.guest
        self.memory = machine.home / "installed"
        self.memory.touch()

    def save(self, directory: Path) -> None:
        shutil.copy(self.memory, directory / "memory")
        for number, disk in enumerate([*self.lower_disks, self.memory], 1):
            os.link(disk, directory / f"disk-{number}.qcow2")
        for name in ("state", "empty.qcow2"):
            (directory / name).write_text(name)

    def explain_loss(self) -> Loss:
        return Loss("it was only pretended", was_killed=True)


@contextmanager
def pretend_boot(
    image,
    hardware,
    around: vm.Surroundings,
    *,
    timeout: float = 0,
    to_be_saved: bool = False,
    lower_disks: Sequence[Path] = (),
) -> Iterator[PretendedVm]:
    with fake_machine(around.directory) as machine, around.guard(machine.kill):
        yield PretendedVm(machine, lower_disks)
    shutil.rmtree(around.directory)


@contextmanager
def pretend_clone(
    snapshot: Snapshot, image, hardware, around: vm.Surroundings, *, to_be_saved: bool = False
) -> Iterator[PretendedVm]:
    with pretend_boot(image, hardware, around, lower_disks=snapshot.disks) as machine:
        shutil.copy(snapshot.memory, machine.memory)
        yield machine


def pretend(monkeypatch, var: Path) -> Config:
    """From now on machines are pretended; a configuration of a host that has built the image."""
    monkeypatch.setattr(vm, "boot", pretend_boot)
    monkeypatch.setattr(vm, "clone", pretend_clone)
    config = settings.load({"VAR": str(var)})
    image = config.images.path / IMAGE / "amd64" / "build-1"
    image.mkdir(parents=True)
    image.with_name("current").symlink_to(image.name)
    return replace(config, worker=replace(config.worker, accelerator="tcg"))


def wanted(
    config: Config,
    directory: Path,
    said: Said | None = None,
    guard: vm.Guard = vm.no_guard,
    **manifest,
) -> Wanted:
    """What a run of a job with these manifest keys wants."""
    text = json.dumps({"image": IMAGE, "tasks": [{"build": "true"}], **manifest})
    return Wanted(config, IMAGE, "amd64", manifests.parse(text), directory, said or Said(), guard)
