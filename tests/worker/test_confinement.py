"""What QEMU may still do on this host: use what it was handed, and nothing else."""

import os
import pwd
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from worker import cgroups, confinement, templates, vm
from worker.confinement import confined, own_namespace, user_number
from worker.snapshots import Snapshot
from worker.vm import Surroundings

ROOT = Path(__file__).parents[2]
NO_CAPABILITY = "0" * 16
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def become(monkeypatch):
    def be(uid, pid=4242):
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(os, "getpid", lambda: pid)

    return be


def test_for_root_it_becomes_a_user_of_its_own_in_no_group(become):
    become(0)
    command = confined(["qemu", "-x"], file_size=7)
    assert command[-3:] == ["--", "qemu", "-x"]
    user = confinement.UNUSED_USERS + 4242
    assert {f"--reuid={user}", f"--regid={user}", "--clear-groups"} < set(command)
    assert {"--core=0", "--fsize=7"} < set(command)
    assert own_namespace() == []


def test_for_an_ordinary_user_it_becomes_another_one_of_a_namespace_of_ours(become):
    become(1000)
    command = confined(["qemu", "-x"], file_size=7)
    assert command[-3:] == ["--", "qemu", "-x"]
    assert {"--reuid=4243", "--regid=4243", "--clear-groups"} < set(command)
    assert own_namespace() == ["--user", "--map-root-user", "--map-auto"]


def test_every_number_that_an_ordinary_user_may_get_is_in_the_block_that_it_has(become):
    for pid in (1, confinement.BLOCK - 2, confinement.BLOCK - 1, confinement.BLOCK, 4_194_303):
        become(1000, pid)
        assert 1 <= user_number() < confinement.BLOCK


def test_of_all_groups_only_that_of_the_device_is_kept(become, tmp_path):
    become(0)
    device = tmp_path / "kvm"
    device.touch()
    assert f"--groups={device.stat().st_gid}" in confined(["qemu"], 7, device)
    become(1000)
    assert "--keep-groups" in confined(["qemu"], 7, device)


def test_two_processes_run_machines_as_two_users():
    program = "from worker.confinement import user_number as n; print(n(), flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    numbers = {process.stdout.readline() for process in processes}
    for process in processes:
        process.communicate("end\n", timeout=60)
    assert len(numbers) == 2


def run_confined(command, stdout=subprocess.PIPE, file_size=2**20):
    confined_command = ["unshare", *own_namespace(), "--", *confined(command, file_size)]
    return subprocess.run(confined_command, stdout=stdout, text=True, timeout=60, check=False)


def test_whoever_is_confined_has_no_capability_and_gets_none():
    fields = dict(re.findall(r"(\w+):\s+(\w+)", run_confined(["cat", "/proc/self/status"]).stdout))
    sets = [fields[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    assert sets == [NO_CAPABILITY] * 5
    assert fields["NoNewPrivs"] == "1"


def test_whoever_is_confined_cannot_let_a_file_grow_beyond_its_size(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        ended = run_confined(["head", "-c", "9000", "/dev/zero"], stdout=file, file_size=4096)
    assert ended.returncode != 0
    assert (tmp_path / "large").stat().st_size == 4096


# --- the process of a running guest ---------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """QEMU's process, and what it was given."""

    pid: int
    directory: Path
    snapshot: Snapshot

    def read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def descriptors(self) -> dict[str, str]:
        """Where each open descriptor leads, by its number."""
        directory = Path(f"/proc/{self.pid}/fd")
        return {each.name: os.readlink(each) for each in directory.iterdir()}


@pytest.fixture(scope="module")
def inheritable(tmp_path_factory):
    """A file of ours that a child gets unless somebody sees to it."""
    with (tmp_path_factory.mktemp("ours") / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        yield file


@pytest.fixture(scope="module")
def running(platform, inheritable, tmp_path_factory):
    template = templates.require(platform, print)
    directory = tmp_path_factory.mktemp("confined") / "vm"
    around = Surroundings(directory)
    with vm.clone(template, platform.image, platform.hardware, around) as machine:
        yield Running(machine.pid, directory, template)


@pytest.mark.vm
def test_it_runs_as_a_user_that_nobody_is(running):
    [uids] = re.findall(r"^Uid:\s+(.*)$", running.read("status"), re.MULTILINE)
    [uid] = set(map(int, uids.split()))
    assert uid not in {entry.pw_uid for entry in pwd.getpwall()}
    if os.geteuid() == 0:
        assert uid == user_number()


@pytest.mark.vm
def test_it_is_in_no_group_of_ours(running):
    [gids] = re.findall(r"^Gid:\s+(.*)$", running.read("status"), re.MULTILINE)
    [groups] = re.findall(r"^Groups:[ \t]*(.*)$", running.read("status"), re.MULTILINE)
    ours = {os.getgid(), *os.getgroups()}
    assert not ours & {int(gid) for gid in (gids + " " + groups).split()}


@pytest.mark.vm
def test_every_thread_of_it_is_without_capabilities_and_behind_a_seccomp_filter(running):
    for thread in Path(f"/proc/{running.pid}/task").iterdir():
        fields = dict(re.findall(r"(\w+):\s+(\w+)", (thread / "status").read_text()))
        sets = [fields[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
        assert sets == [NO_CAPABILITY] * 5
        assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.vm
def test_of_our_environment_it_knows_the_path_only(running):
    names = [word.partition("=")[0] for word in running.read("environ").split("\0") if word]
    assert names == ["PATH"]


@pytest.mark.vm
def test_it_has_open_what_it_was_given_and_nothing_that_was_ours(running, platform, inheritable):
    unnamed = re.compile(r"(socket|pipe):\[\d+\]|anon_inode:.*")
    files = {path for path in running.descriptors().values() if not unnamed.fullmatch(path)}
    device = {"/dev/kvm"} if platform.hardware.accelerator == "kvm" else set()
    image, snapshot = platform.image, running.snapshot
    given = [snapshot.kernel, image.disk, *snapshot.disks, snapshot.memory]
    own = [running.directory / "overlay.qcow2", running.directory / "stderr"]
    assert files == {"/dev/null", *map(str, [*given, *own]), *device}
    assert inheritable.name not in files


@pytest.mark.vm
def test_it_has_open_for_writing_its_own_disk_its_words_and_what_becomes_its_memory(
    running, platform
):
    """QEMU before version 9 wants to be able to write to memory that it only maps privately."""
    writable = {path for path in writable_files(running) if path.startswith("/")}
    own = [running.directory / "overlay.qcow2", running.directory / "stderr"]
    device = {"/dev/kvm"} if platform.hardware.accelerator == "kvm" else set()
    assert writable == {"/dev/null", *map(str, own), str(running.snapshot.memory), *device}


def writable_files(running):
    for number, path in running.descriptors().items():
        [flags] = re.findall(r"flags:\s+(\d+)", running.read(f"fdinfo/{number}"))
        if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
            yield path


OPEN_ANEW = """
import os, sys
for number in map(int, sys.argv[1:]):
    try:
        os.open(f"/proc/self/fd/{number}", os.O_RDWR)
        print("writable")
    except PermissionError:
        print("refused")
"""


@pytest.mark.vm
@needs_root
def test_opening_a_shared_disk_anew_gives_no_right_to_write_to_it(running, platform):
    """The memory, where it does, shows that the answer could be another one."""
    image, snapshot = platform.image, running.snapshot
    files = [image.disk, snapshot.kernel, *snapshot.disks, snapshot.memory]
    opened = [os.open(path, os.O_RDONLY) for path in files]
    answers = subprocess.run(
        ["python3", "-c", OPEN_ANEW, *map(str, opened)],
        pass_fds=opened,
        user=user_number(),
        group=user_number(),
        extra_groups=[],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    for descriptor in opened:
        os.close(descriptor)
    assert answers == ["refused"] * (len(files) - 1) + ["writable"]


@pytest.mark.vm
def test_it_is_alone_in_a_network_namespace(running, real_machine):
    def network(pid):
        return os.readlink(f"/proc/{pid}/ns/net")

    assert len({network(running.pid), network(real_machine.pid), network(os.getpid())}) == 3


@pytest.mark.vm
def test_it_leaves_no_core_and_no_file_grows_beyond_a_full_disk(running, platform):
    limits = dict(re.findall(r"^(Max .*?)  +(\S+)", running.read("limits"), re.MULTILINE))
    assert limits["Max core file size"] == "0"
    disk = platform.image.disk.stat().st_size
    assert disk < int(limits["Max file size"]) <= disk + vm.OVERLAY_EXTRA


@pytest.mark.vm
def test_it_is_in_a_control_group_that_holds_it_to_the_size_of_its_machine(running, platform):
    reason = cgroups.explain()
    if reason:
        pytest.skip(reason)
    host = cgroups.Host(cgroups.Host.this().root, running.read("cgroup"))
    v1, v2 = host.v1.get("memory"), host.v2
    limit = v1 / "memory.limit_in_bytes" if v1 else v2 / "memory.max"
    assert int(limit.read_text()) == platform.hardware.memory + vm.MEMORY_EXTRA
    assert str(running.pid) in (limit.parent / "cgroup.procs").read_text().split()
