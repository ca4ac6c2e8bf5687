"""What the processes of one virtual machine may take from this host: memory, processors and a
number of processes, held to by the kernel.

A group is a directory below the cgroups that we ourselves are in, with cgroup v2 (given by systemd
to a unit with `Delegate=yes`, made ready once by `prepare`), with v1, or with some controllers in
each. Leaving `limited` kills what is left in the group and removes it. Each group's name says whose
it is, so that after a crash `remove_leftovers` can judge it without any other state.

A host may allow none of this: then there is no limit, jobs run all the same, and `explain` says
what the host lacks. Whoever runs as the user whom the groups belong to can also leave them, so the
limits bind somebody who has taken over QEMU only if that runs as another.

Knows nothing of virtual machines, nor what a fair limit is.
"""

import errno
import itertools
import logging
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from buildsrht import processes
from worker.errors import RunnerError
from worker.processes import start_time

log = logging.getLogger(__name__)

# The kernel's names of what we limit, and ours. The last group made is the first to be removed; in
# that of `pids` no process can fork away from being killed.
CONTROLLERS = {"cpu": "processors", "memory": "memory", "pids": "processes"}
# Where `prepare` puts the processes that are not in a group of ours. No systemd unit is called so.
LEAF = "buildsrht-worker"
# Name, serial number, PID namespace, and the number and start time of the owner.
GROUP_NAME = re.compile(r"buildsrht-vm\.(.+)\.\d+\.(\d+)\.(\d+)\.(\d+)")
SERIAL = itertools.count()
CPU_PERIOD = 100_000  # microseconds, the kernel's own default
PREPARE_SECONDS = 2
KILL_SECONDS = 15


@dataclass(frozen=True)
class Limits:
    """Memory in bytes; `processes` counts threads too."""

    memory: int
    cpus: int
    processes: int


TRIAL = Limits(memory=64 * 2**20, cpus=1, processes=16)


@dataclass(frozen=True)
class Host:
    """Where cgroups are mounted, and the ones that we are in, as /proc/self/cgroup lists them."""

    root: Path
    own: str

    @classmethod
    def this(cls) -> "Host":
        return cls(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text())

    @property
    def v2(self) -> Path | None:
        """Our own cgroup in v2's one hierarchy, which hybrid hosts mount beside the others."""
        own = re.search(r"^0::/(.*)$", self.own, re.MULTILINE)
        mounts = (self.root, self.root / "unified")
        mount = next((path for path in mounts if (path / "cgroup.controllers").exists()), None)
        return mount / own[1] if own and mount else None

    @property
    def v1(self) -> dict[str, Path]:
        """Our own cgroup in the hierarchy of each of v1's controllers that we want."""
        paths = {
            name: path
            for names, path in re.findall(r"^\d+:([^:]+):/(.*)$", self.own, re.MULTILINE)
            for name in names.split(",")
        }
        return {name: self.root / name / paths[name] for name in CONTROLLERS if name in paths}


class Group:
    """The limits of one machine; empty on a host that allows none."""

    def __init__(self, directories: Sequence[Path]):
        self.directories = tuple(directories)

    def add(self, pid: int) -> None:
        """Hold a process to the limits, and every child that it starts from now on.

        Memory that it has already stays counted where it was: add it while it is small.
        """
        for directory in self.directories:
            members = directory / "cgroup.procs"
            try:
                members.write_text(str(pid))
            except ProcessLookupError:
                # It has ended; that is for whoever waits for it to see.
                return
            except OSError as error:
                raise RunnerError(f"{members}: cannot take {pid}: {error.strerror}") from error


@contextmanager
def limited(name: str, limits: Limits, host: Host | None = None) -> Iterator[Group]:
    """A group with these limits, as far as the host allows any; gone when the block ends, with
    every process in it. Of a `name` there may be many at once."""
    with ExitStack() as stack:
        groups, _ = _enter_groups(stack, name, limits, host or Host.this())
        yield Group(groups)


def explain(host: Host | None = None) -> str | None:
    """Why this host does not hold a machine to every limit, in a line; None if it does."""
    with ExitStack() as stack:
        _, refusals = _enter_groups(stack, "trial", TRIAL, host or Host.this())
    if not refusals:
        return None
    missing = ", ".join(CONTROLLERS[controller] for controller in refusals)
    reasons = "; ".join(dict.fromkeys(refusals.values()))
    return (
        f"guests are not held to limits of {missing}: {reasons} (a systemd unit needs Delegate=yes)"
    )


def prepare(host: Host | None = None) -> None:
    """Make our own v2 cgroup ready to have groups with limits in it; nothing to do for v1.

    v2 gives controllers only to the children of a cgroup that has no process itself. So whoever
    is in ours, the parent that started us and its other children included, moves into a leaf.
    To be called before any group is made; where it is not allowed, `explain` will say so.
    """
    own = (host or Host.this()).v2
    if own is None or own.name == LEAF:
        return
    with suppress(OSError):
        available = _words(own / "cgroup.controllers") & CONTROLLERS.keys()
        if available - _words(own / "cgroup.subtree_control"):
            _empty_into(own, own / LEAF)
            (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))


def _empty_into(cgroup: Path, leaf: Path) -> None:
    # The whole machine's own cgroup is free of the rule, and the only one without a type.
    if not (cgroup / "cgroup.type").exists():
        return
    leaf.mkdir(exist_ok=True)
    deadline = time.monotonic() + PREPARE_SECONDS
    # Again, because a process may fork while we move it.
    while (members := _members(cgroup)) and time.monotonic() < deadline:
        for pid in members:
            with suppress(ProcessLookupError):
                (leaf / "cgroup.procs").write_text(str(pid))


def remove_leftovers(host: Host | None = None) -> list[str]:
    """Remove every group on this host that is ours and whose process is gone, with what is in it;
    returns their names."""
    leftovers = [path for path in _groups_below((host or Host.this()).root) if _is_leftover(path)]
    for directory in leftovers:
        _remove(directory)
    return [directory.name for directory in leftovers]


def _groups_below(directory: Path) -> Iterator[Path]:
    try:
        inside = [entry for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        # Removed meanwhile, or somebody else's.
        return
    for entry in inside:
        if GROUP_NAME.fullmatch(entry.name):
            yield Path(entry.path)
        else:
            yield from _groups_below(Path(entry.path))


def _is_leftover(group: Path) -> bool:
    name = GROUP_NAME.fullmatch(group.name)
    # In a container the numbers of processes mean others than here.
    if not name or int(name[2]) != _pid_namespace():
        return False
    with suppress(FileNotFoundError):
        # Anybody may use our names; only what runs as we do can be ours.
        if group.stat().st_uid == os.getuid():
            return start_time(int(name[3])) != int(name[4])
    return False


# --- making and removing --------------------------------------------------------------------------

Settings = dict[str, dict[str, int | str]]  # for each controller its files and what goes there


def _v1_settings(limits: Limits) -> Settings:
    return {
        "pids": {"pids.max": limits.processes},
        "memory": {
            "memory.limit_in_bytes": limits.memory,
            "memory.memsw.limit_in_bytes": limits.memory,
        },
        "cpu": {"cpu.cfs_period_us": CPU_PERIOD, "cpu.cfs_quota_us": limits.cpus * CPU_PERIOD},
    }


def _v2_settings(limits: Limits) -> Settings:
    return {
        "pids": {"pids.max": limits.processes},
        "memory": {"memory.max": limits.memory, "memory.swap.max": 0},
        "cpu": {"cpu.max": f"{limits.cpus * CPU_PERIOD} {CPU_PERIOD}"},
    }


# A kernel that does not account for swap has none of these.
OPTIONAL = ("memory.memsw.limit_in_bytes", "memory.swap.max")


def _plan(host: Host, limits: Limits) -> Iterator[tuple[Path, Settings]]:
    """Each cgroup that may get a child, and what the child would be told."""
    for controller, own in host.v1.items():
        yield own, {controller: _v1_settings(limits)[controller]}
    if v2 := host.v2:
        parent = v2.parent if v2.name == LEAF else v2
        handed_down = _words(parent / "cgroup.subtree_control")
        settings = _v2_settings(limits)
        yield parent, {name: settings[name] for name in CONTROLLERS if name in handed_down}


def _enter_groups(
    stack: ExitStack, name: str, limits: Limits, host: Host
) -> tuple[list[Path], dict[str, str]]:
    """Make a group wherever one is possible; tells of each other controller why it was not."""
    pid = os.getpid()
    owner = f"{next(SERIAL)}.{_pid_namespace()}.{pid}.{start_time(pid)}"
    group = f"buildsrht-vm.{re.sub(r'[^A-Za-z0-9._-]', '-', name)}.{owner}"
    made = []
    refusals = dict.fromkeys(CONTROLLERS, f"{host.v2 or host.root}: no such controller for groups")
    for parent, settings in _plan(host, limits):
        try:
            if settings:
                made.append(stack.enter_context(_group(parent / group, settings)))
            for controller in settings:
                del refusals[controller]
        except OSError as error:
            refusals.update(dict.fromkeys(settings, f"{error.filename}: {error.strerror}"))
    return made, refusals


@contextmanager
def _group(directory: Path, settings: Settings) -> Iterator[Path]:
    directory.mkdir()
    try:
        for files in settings.values():
            for file, value in files.items():
                if file not in OPTIONAL or (directory / file).exists():
                    (directory / file).write_text(str(value))
        yield directory
    finally:
        _remove(directory)


def _remove(directory: Path) -> None:
    """Kill what is in a group until it can be removed."""
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                log.warning("%s cannot be removed: %s", directory, error.strerror)
                return
        _kill_members(directory, deadline)


def _kill_members(directory: Path, deadline: float) -> None:
    # Nobody shall escape by forking faster than we kill; v2 can even kill them all at once.
    for file, word in (("pids.max", "0"), ("cgroup.kill", "1")):
        with suppress(OSError):
            (directory / file).write_text(word)
    members = _members(directory)
    # All of them first: while one dies, the others keep the processors busy.
    for pid in members:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for pid in members:
        processes.has_ended(pid, max(deadline - time.monotonic(), 0))
    # An ended process is still counted for a moment.
    time.sleep(0.001)


def _members(cgroup: Path) -> list[int]:
    """The processes in a cgroup, without those of a namespace that we cannot see, which are 0."""
    try:
        return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split() if pid != "0"]
    except OSError:
        return []


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().split())
    except OSError:
        return set()


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
