"""An image on this host's hardware, and what must be the same for a saved machine to go on.

Knows nothing of jobs. Building and finding what is saved is for worker.templates and worker.layers.
"""

import hashlib
import json
import platform as system
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from buildsrht.config import Config
from worker import qemu
from worker.accelerator import program_identity
from worker.directories import locked_patiently
from worker.errors import RunnerError
from worker.guest import Guest
from worker.images import BuiltImage
from worker.qemu import Hardware
from worker.vm import Guard

# Grows when something about a snapshot changes that nothing else here tells.
FORMAT = 3
# Every image brings it; see docs/images.md.
SETTLE = "/usr/lib/buildsrht/settle"
# A kernel rewrites some of its own code when that is first used. It does so here once, and not in
# each machine that goes on from here: that costs time, and QEMU before 8.1 may get it wrong.
FIRST_USE = """
for place in tcp/127.0.0.1 tcp/::1 udp/127.0.0.1 udp/::1; do
    (: <>/dev/$place/9)
done 2>/dev/null
true
"""
# What /proc/cpuinfo says that is not of the moment, on processors of either family.
SPECIFIC = ("model", "flags", "stepping", "CPU ", "Features")


@dataclass(frozen=True)
class Platform:
    config: Config
    image: BuiltImage
    hardware: Hardware

    @cached_property
    def key(self) -> str:
        """Digest of everything that a machine's saved state depends on."""
        facts = [
            FORMAT,
            # Names the build, so a refreshed image is another one.
            [self.image.name, self.image.arch, self.image.directory.name],
            asdict(self.hardware),
            program_identity(qemu.MACHINES[self.image.arch].binary),
            qemu.command(self.image.arch, self.hardware, _any_parts()),
            _processor() if self.hardware.accelerator == "kvm" else None,
        ]
        return digest(facts)

    @property
    def facts(self) -> dict[str, str]:
        """What a snapshot notes about where it belongs."""
        return {
            "image": self.image.name,
            "arch": self.image.arch,
            "built": str(self.image.directory),
            "platform": self.key,
        }


def digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _processor() -> list[str]:
    """With KVM a guest sees the host's own processor."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    kept = [line for line in lines if line.startswith(SPECIFIC)]
    return [system.release(), *kept]


def _any_parts() -> qemu.Parts:
    """The devices do not depend on which files they use."""
    memory = qemu.Memory(0, shared=False)
    return qemu.Parts("", 0, None, "", [0, 0], 0, 0, 0, 0, memory, incoming=True)


@contextmanager
def alone(lock: Path, guard: Guard) -> Iterator[None]:
    """Only one process of this host at a time is in a block with this lock file. Raises RunnerError
    when the guard ends the wait."""
    give_up = threading.Event()
    with guard(give_up.set), locked_patiently(lock, give_up) as has_it:
        if not has_it:
            raise RunnerError("it was stopped while it waited for another job's preparation")
        yield


def settle(guest: Guest) -> None:
    """Bring a machine to rest, so that it can be saved."""
    guest.run(["bash", "-c", FIRST_USE], lambda _: None, user="root")
    said: list[bytes] = []
    status = guest.run([SETTLE], said.append, user="root")
    if status != 0:
        text = b"".join(said).decode(errors="replace")
        raise RunnerError(f"{SETTLE} ended with status {status}: {text}")
