"""What a machine that stands still consists of, and where it is: a directory `<[ssh] path>/<job>`.

    image/         the image's disk, kernel and command line
    disk-1.qcow2   what lies over the image's disk; disk-2 lies over disk-1, and so on
    made.json      its hardware, and until when it is kept
    frozen-1/      its memory and its own disk, locked up; the highest number is the machine
    owner          the process that freezes it, or in which it runs
    socket         where that process is visited

What others may use too, the disks below its own, is here by hard links: it stays when an image or a
layer goes. A new state appears in one step beside the old one, which is there until then.

Knows nothing of jobs but their numbers, and nothing of QEMU.
"""

import errno
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from buildsrht.config import Config
from worker.directories import OWNER, locked, make_owned
from worker.disk_space import free_bytes
from worker.errors import RunnerError
from worker.guest import AgentGuest
from worker.images import BuiltImage
from worker.kept import vault
from worker.kept.pipes import passed_on_to, read_from
from worker.processes import start_time
from worker.qemu import Hardware
from worker.sparse import copy_sparsely
from worker.vm import KERNEL_HEAD, Body

MEMORY, DISK = "memory", "disk"
MADE = "made.json"
SOCKET = "socket"
DOOR = "door"
STATE = re.compile(r"frozen-(\d+)")
MAKING = "making-"
MIB = 2**20


class Freezable(Protocol):
    """A machine that can be frozen: worker.vm's, and one that was borrowed."""

    @property
    def body(self) -> Body: ...

    @property
    def own_disk(self) -> Path: ...

    @property
    def guest(self) -> AgentGuest: ...

    def freeze(self, sink: int) -> None: ...


@dataclass(frozen=True)
class Kept:
    """The machine of one job. Its directory may go at any moment, but for its owner's."""

    job_id: int
    directory: Path

    @classmethod
    def of(cls, config: Config, job_id: int) -> "Kept":
        return cls(job_id, config.ssh.path / str(job_id))

    # --- what there is ------------------------------------------------------------------------

    @property
    def state(self) -> Path | None:
        """Where memory and disk are; None while it was never frozen whole."""
        return max(self._states(), key=_number_of, default=None)

    def _states(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return [path for path in self.directory.iterdir() if STATE.fullmatch(path.name)]
        return []

    @property
    def socket(self) -> Path:
        return self.directory / SOCKET

    @property
    def expires(self) -> datetime:
        return datetime.fromisoformat(self._made["expires"])

    @property
    def is_over(self) -> bool:
        return datetime.now(UTC) >= self.expires

    @property
    def body(self) -> Body:
        made = self._made
        image = BuiltImage(made["image"], made["arch"], self.directory / "image")
        return Body(
            image=image,
            hardware=Hardware(**made["hardware"]),
            kernel=image.kernel,
            disks=[self.directory / name for name in made["disks"]],
            names_memory=made["names_memory"],
        )

    @property
    def _made(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.directory / MADE).read_text()))
        except (OSError, ValueError) as error:
            raise RunnerError(f"{self.directory / MADE}: {error}") from error

    def size(self) -> int:
        """What it takes up on the disk, in bytes; of what several share, each has its part."""
        total = 0
        for directory, _, names in os.walk(self.directory):
            for name in names:
                with suppress(FileNotFoundError):
                    stat = os.lstat(Path(directory, name))
                    total += stat.st_blocks * 512 // stat.st_nlink
        return total

    # --- whose it is --------------------------------------------------------------------------

    @property
    def is_owned(self) -> bool:
        """Whether it is being frozen now, or runs."""
        try:
            pid, started = (self.directory / OWNER).read_text().split()
        except (FileNotFoundError, ValueError):
            return False
        return start_time(int(pid)) == int(started)

    def own(self, pid: int) -> None:
        """Make that process its owner."""
        new = self.directory / f".{OWNER}"
        new.write_text(f"{pid} {start_time(pid)}\n")
        new.rename(self.directory / OWNER)

    def dismiss(self) -> None:
        """Ask its owner to let go of it, which takes a moment."""
        pid, _ = (self.directory / OWNER).read_text().split()
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)

    def disown(self) -> None:
        (self.directory / OWNER).unlink(missing_ok=True)

    # --- what its owner does with it ----------------------------------------------------------

    def freeze(self, machine: Freezable, key: bytes) -> None:
        """Stop the machine for good and make what it is now the state that is kept.

        If that fails, what was kept before is as it was. Raises RunnerError or OSError.
        """
        salt = vault.new_salt()
        before = self._states()
        number = max(map(_number_of, before), default=0) + 1
        making = self.directory / f"{MAKING}{number}"
        making.mkdir()
        try:
            with _new(making / MEMORY) as target:
                take = partial(_lock_up, target=target, key=key, salt=salt, name=MEMORY)
                with passed_on_to(take) as sink:
                    machine.freeze(sink)
            with _new(making / DISK) as target, machine.own_disk.open("rb") as disk:
                _lock_up(disk, target, key, salt, DISK)
            machine.own_disk.unlink()
            making.rename(self.directory / f"frozen-{number}")
        finally:
            shutil.rmtree(making, ignore_errors=True)
        for old in before:
            shutil.rmtree(old, ignore_errors=True)

    def write_disk(self, key: bytes, target: Path) -> None:
        """Make the machine's own disk."""
        with self._opened(DISK) as source, target.open("xb") as file:
            for data in vault.unlock(source, key, DISK):
                file.write(data)

    @contextmanager
    def memory(self, key: bytes) -> Iterator[int]:
        """A descriptor from which the machine's memory can be read."""
        with (
            self._opened(MEMORY) as source,
            read_from(vault.unlock(source, key, MEMORY)) as descriptor,
        ):
            yield descriptor

    def _opened(self, name: str) -> BinaryIO:
        state = self.state
        if state is None:
            raise RunnerError(f"{self.directory}: there is no frozen machine in it")
        return (state / name).open("rb")

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what a process that was killed left beside the state. For nobody but an owner, and
        the janitor when there is none."""
        for path in [*self.directory.glob(f"{MAKING}*"), *self._states()]:
            if path != self.state:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def door(config: Config) -> Iterator[None]:
    """Only one process of this host at a time is in such a block: whoever wants a machine to run,
    or to be gone, while nobody owns it."""
    config.ssh.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(config.ssh.path / DOOR):
        yield


def find(config: Config, job_id: int) -> Kept | None:
    """The machine of a job, if one is or is being kept on this host."""
    kept = Kept.of(config, job_id)
    return kept if kept.directory.is_dir() else None


def all_kept(config: Config) -> list[Kept]:
    if not config.ssh.path.exists():
        return []
    directories = [path for path in config.ssh.path.iterdir() if path.name.isdecimal()]
    return [Kept(int(path.name), path) for path in sorted(directories)]


def shortage(config: Config, need: int) -> str | None:
    """Why there is no room for a machine that may take up so many bytes; None if there is."""
    used = sum(kept.size() for kept in all_kept(config))
    if used + need > config.ssh.size:
        allowed = config.ssh.size // MIB
        return f"kept machines take up {used // MIB} MiB here, of {allowed} that they may"
    if free_bytes(config.ssh.path) - need < config.worker.disk_reserve:
        return "the disk of this build host is short"
    return None


def need_of(machine: Freezable) -> int:
    """What a machine may take up once it is frozen, in bytes: no more than that."""
    return machine.body.hardware.memory + machine.own_disk.stat().st_size + MIB


def prepare(config: Config, job_id: int, body: Body, expires: datetime) -> Kept:
    """A directory of ours for this machine, with everything but the machine itself. Raises
    OSError; then nothing is left."""
    kept = Kept.of(config, job_id)
    make_owned(kept.directory)
    try:
        kept.directory.chmod(0o700)
        _share_image(body, kept.directory / "image")
        names = [f"disk-{number}.qcow2" for number in range(1, len(body.disks) + 1)]
        for disk, name in zip(body.disks, names, strict=True):
            _share(disk, kept.directory / name)
        made = {
            "image": body.image.name,
            "arch": body.image.arch,
            "hardware": vars(body.hardware),
            "disks": names,
            "names_memory": body.names_memory,
            "expires": expires.isoformat(),
            "at": time.time(),
        }
        (kept.directory / MADE).write_text(json.dumps(made))
    except BaseException:
        kept.remove()
        raise
    return kept


def _share_image(body: Body, directory: Path) -> None:
    directory.mkdir()
    _share(body.image.disk, directory / "disk.raw")
    if body.kernel:
        with body.kernel.open("rb") as kernel:
            (directory / "kernel").write_bytes(kernel.read(KERNEL_HEAD))
        (directory / "cmdline").write_text(body.image.cmdline)


def _share(source: Path, target: Path) -> None:
    """The same file once more; a copy, if that is another file system."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise
        copy_sparsely(source, target)


def _number_of(state: Path) -> int:
    return int(state.name.partition("-")[2])


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file that is on the disk when the block has ended, for nobody but us."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _lock_up(source: BinaryIO, target: BinaryIO, key: bytes, salt: bytes, name: str) -> None:
    vault.lock_up(source.read, target, key, salt, name)
