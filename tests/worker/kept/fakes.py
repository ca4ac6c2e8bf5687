"""A machine that can be kept and costs nothing: a fake one, whose disk is an archive of its home.

What is in its memory goes through the same pipes as a real one's, but nobody continues it: what
runs in it is gone when it was frozen.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from buildsrht import config as settings
from buildsrht.backend import Backend, open_backend
from tests.worker.fakes import FakeMachine, fake_machine
from worker.errors import Loss
from worker.images import BuiltImage
from worker.kept.frozen import Kept
from worker.kept.keeper import keep
from worker.machines import Wanted
from worker.qemu import Hardware
from worker.vm import Body

MEMORY = b"what is in its memory " * 100_000
KEEPER = (sys.executable, "-c", "from tests.worker.kept.fakes import main; main()")


class KeepableMachine:
    """`freezable` is the machine itself; what `broken` says happens when it is frozen."""

    image_version = "fake-1"
    layer = None
    layer_is_new = False
    origin = "boot"
    has_packages = False
    ended_itself = False
    broken: Exception | None = None

    def __init__(self, machine: FakeMachine, directory: Path):
        self.guest = machine.guest
        self.home = machine.home
        self.own_disk = directory / "own-disk"
        self.own_disk.write_bytes(b"")
        self.body = body_in(directory)
        self.freezable = self
        self._machine = machine

    def freeze(self, sink: int) -> None:
        if self.broken:
            raise self.broken
        with open(sink, "wb", closefd=False) as memory:
            memory.write(MEMORY)
        pack = ["tar", "-C", str(self.home), "-cf", str(self.own_disk), "."]
        subprocess.run(pack, check=True)
        self._machine.kill()

    def explain_loss(self) -> Loss:
        return self._machine.explain_loss()


def body_in(directory: Path) -> Body:
    """What lies below a machine's own disk: an image, and a layer over it."""
    image = BuiltImage("debian/trixie", "amd64", directory / "below" / "image")
    image.directory.mkdir(parents=True)
    image.disk.write_bytes(b"the image's disk")
    (image.directory / "kernel").write_bytes(b"kernel")
    (image.directory / "cmdline").write_text("root=/dev/vda")
    layer = directory / "below" / "layer.qcow2"
    layer.write_bytes(b"what lies over it")
    return Body(
        image=image,
        hardware=Hardware("tcg", 2**20, 1),
        kernel=image.kernel,
        disks=[layer],
        names_memory=True,
    )


@contextmanager
def keepable_boot(wanted: Wanted) -> Iterator[KeepableMachine]:
    """Stands where `worker.machines.start` does."""
    directory = wanted.directory / "vm"
    with fake_machine(directory) as machine, wanted.guard(machine.kill):
        yield KeepableMachine(machine, directory)


@contextmanager
def fake_thaw(
    backend: Backend, kept: Kept, key: bytes, directory: Path
) -> Iterator[KeepableMachine]:
    with kept.memory(key) as descriptor, open(descriptor, "rb", closefd=False) as memory:
        assert memory.read() == MEMORY
    kept.write_disk(key, directory / "disk")
    with fake_machine(directory / "vm") as machine:
        unpack = ["tar", "-C", str(machine.home), "-xf", str(directory / "disk")]
        subprocess.run(unpack, check=True)
        yield KeepableMachine(machine, directory / "vm")


def main() -> None:
    with closing(open_backend(settings.load())) as backend:
        keep(backend, int(sys.argv[1]), fake_thaw)
