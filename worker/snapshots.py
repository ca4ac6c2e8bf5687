"""Saved machines on this host's disk: what one consists of, and how it is kept, found and dropped.

A snapshot is a directory `<snapshots>/<kind>/<key>`:

    memory          the guest's memory, mapped privately by each machine that continues from it
    state           what QEMU's devices knew
    disk-1.qcow2    what was written over the image's disk; disk-2 lies over disk-1, and so on
    empty.qcow2     the disk of a machine that has written nothing yet
    kernel          the beginning of the kernel; QEMU wants one
    made.json       of what and when it was made, and the seal
    used            nothing; its time of modification is when the snapshot was used last

It appears in one step, complete, and never changes: the seal names every file's size and time of
modification. QEMU before version 9 needs the right to write to a file that it only maps privately,
but whoever uses that right cannot set the time back, and the snapshot is dropped.

A snapshot that builds on another shares its disks by hard links, so each can go without the other.
Knows nothing of QEMU, of jobs, or of what a key stands for.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from buildsrht.config import Config
from worker.directories import OWNER, make_owned
from worker.errors import SnapshotBroken

TEMPLATES = "templates"
LAYERS = "layers"
MADE = "made.json"
USED = "used"
UNSEALED = (OWNER, MADE, USED)
# A work in progress is beside what is finished, so that finishing is a rename.
BUILDING = "building-"
DROPPED = "dropped-"


@dataclass(frozen=True)
class Snapshot:
    directory: Path
    made: Mapping[str, Any]

    @property
    def key(self) -> str:
        return self.directory.name

    @property
    def memory(self) -> Path:
        return self.directory / "memory"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def kernel(self) -> Path | None:
        """None of a machine that its firmware has booted."""
        return self.directory / "kernel" if "kernel" in self.made["seal"] else None

    @property
    def empty_disk(self) -> Path:
        return self.directory / "empty.qcow2"

    @property
    def id(self) -> str:
        """Unlike the key, this is another one when a snapshot is made anew."""
        return str(self.made["id"])

    @property
    def disks(self) -> list[Path]:
        """What lies over the image's own disk, lowest first. As sealed: what is in the directory
        may be gone the next moment."""
        names = [name for name in self.made["seal"] if name.startswith("disk-")]
        return [self.directory / name for name in sorted(names, key=lambda name: (len(name), name))]

    @property
    def made_at(self) -> float:
        """Seconds since the epoch; of one that builds on another, when the oldest was made."""
        return float(self.made["at"])

    @property
    def last_used(self) -> float:
        """Seconds since the epoch; long ago, if it is gone."""
        try:
            return (self.directory / USED).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def check(self) -> None:
        """Raise SnapshotBroken if a file is missing or was written to since it was sealed."""
        for name, sealed in self.made["seal"].items():
            found = _seal_of(self.directory / name)
            if found != sealed:
                raise SnapshotBroken(f"{name} of snapshot {self.key} is {_difference(found)}")

    def is_intact(self) -> bool:
        try:
            self.check()
        except SnapshotBroken:
            return False
        return True

    def note_use(self) -> None:
        with suppress(FileNotFoundError):
            os.utime(self.directory / USED)

    def size(self) -> int:
        """What it takes up on the disk, in bytes; of what several share, each has its part."""
        try:
            stats = [path.stat() for path in self.directory.iterdir()]
        except FileNotFoundError:
            # Somebody has just dropped it.
            return 0
        return sum(stat.st_blocks * 512 // stat.st_nlink for stat in stats)


def homes(config: Config) -> list[Path]:
    """The directory of each kind of snapshot."""
    return [config.snapshots.path / kind for kind in (TEMPLATES, LAYERS)]


def is_finished(directory: Path) -> bool:
    """Whether it is a snapshot that somebody may start from, if it is intact."""
    return _finished(directory) is not None


def _finished(directory: Path) -> Snapshot | None:
    if not directory.name.startswith((BUILDING, DROPPED)):
        with suppress(SnapshotBroken):
            return _read(directory)
    return None


def find(home: Path, key: str) -> Snapshot | None:
    """The snapshot of that key, if there is one. Raises SnapshotBroken, also for one whose
    description cannot be read."""
    directory = home / key
    if not directory.exists():
        return None
    snapshot = _read(directory)
    snapshot.check()
    return snapshot


def find_or_drop(home: Path, key: str, say: Callable[[str], None]) -> Snapshot | None:
    """The snapshot of that key, if there is one that is intact; of a broken one `say` is told."""
    try:
        return find(home, key)
    except SnapshotBroken as error:
        say(f"{error}: it is made anew.")
        drop(home, key)
        return None


def all_in(home: Path) -> list[Snapshot]:
    """Every snapshot that is readable, checked or not."""
    if not home.exists():
        return []
    with os.scandir(home) as entries:
        # Beside them is a lock for every key that was ever asked for.
        found = [_finished(Path(entry)) for entry in entries if entry.is_dir()]
    return [snapshot for snapshot in found if snapshot]


def _read(directory: Path) -> Snapshot:
    try:
        made = json.loads((directory / MADE).read_text())
    except (OSError, ValueError) as error:
        raise SnapshotBroken(f"snapshot {directory.name} has no description: {error}") from error
    if not _is_description(made):
        raise SnapshotBroken(f"snapshot {directory.name} has no description, but something else")
    return Snapshot(directory, made)


def _is_description(made: Any) -> bool:
    return (
        isinstance(made, dict) and {"at", "id"} <= set(made) and isinstance(made.get("seal"), dict)
    )


@contextmanager
def building(home: Path, key: str) -> Iterator[Path]:
    """A directory to make a snapshot in; what is left there when the block ends is removed.

    The janitor removes it when this process is killed.
    """
    directory = home / f"{BUILDING}{key}-{token_hex(4)}"
    make_owned(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def publish(directory: Path, home: Path, key: str, made: Mapping[str, Any]) -> Snapshot:
    """Seal what is in `directory` and make it the snapshot of that key, in place of any other."""
    sealed = seal(directory, made)
    (directory / OWNER).unlink(missing_ok=True)
    drop(home, key)
    os.rename(directory, home / key)
    return Snapshot(home / key, sealed.made)


def seal(directory: Path, made: Mapping[str, Any]) -> Snapshot:
    """What is in `directory`, as a snapshot that nobody finds yet."""
    files = [path for path in sorted(directory.iterdir()) if path.name not in UNSEALED]
    for path in files:
        _write_out(path)
    described = {**made, "id": token_hex(8), "seal": {path.name: _seal_of(path) for path in files}}
    (directory / MADE).write_text(json.dumps(described))
    (directory / USED).touch()
    return Snapshot(directory, described)


def _write_out(path: Path) -> None:
    """After a loss of power a file may have its size and time, and not its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def drop_this(snapshot: Snapshot) -> None:
    """Remove the snapshot, unless it was made anew since it was found."""
    with suppress(SnapshotBroken):
        if _read(snapshot.directory).id != snapshot.id:
            return
    drop(snapshot.directory.parent, snapshot.key)


def drop(home: Path, key: str) -> None:
    """Remove a snapshot, if it is there. Machines that run from it have its files open."""
    # Out of the way in one step: nobody shall find half of it.
    aside = home / f"{DROPPED}{key}-{token_hex(4)}"
    with suppress(FileNotFoundError):
        os.rename(home / key, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _seal_of(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _difference(found: list[int] | None) -> str:
    return "not what was saved" if found else "missing"
