"""The kernel holds a machine's processes to their limits, and nothing of a group outlives it.

What only a kernel can show is shown twice: on this host if it lets us, and in a guest as its user
`build`, in a systemd unit with Delegate=yes, which is cgroup v2 as docs/operating.md sets it up.
Plain files show the rest.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker import cgroups
from worker.cgroups import LEAF, Host, Limits, explain, limited, prepare

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("worker/__init__.py", "worker/cgroups.py", "worker/errors.py", "worker/processes.py"),
    *("buildsrht/__init__.py", "buildsrht/errors.py", "buildsrht/processes.py"),
)
MIB = 2**20
LIMITS = Limits(memory=64 * MIB, cpus=2, processes=32)
SECONDS = 120

# What each of the programs below starts with. A child does nothing until it is told to.
PREAMBLE = """
import os, signal, subprocess, sys, time
from buildsrht import processes
from worker import cgroups
from worker.cgroups import Limits, limited

MIB = 2**20
LIMITS = Limits(memory=64 * MIB, cpus=1, processes=32)

def child(program):
    return subprocess.Popen(
        [sys.executable, "-c", "input()\\n" + program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )

def go(process):
    process.stdin.write("go\\n")
    process.stdin.flush()

def members(group):
    return [int(pid) for pid in (group.directories[0] / "cgroup.procs").read_text().split()]

def is_gone(group):
    return bool(group.directories) and not any(path.exists() for path in group.directories)
"""


def run_here(program: str) -> str:
    command = [sys.executable, "-c", PREAMBLE + program]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


class Unit:
    """Runs programs in a guest, each as a systemd unit with these properties."""

    def __init__(self, guest, *properties: str):
        self.guest = guest
        self.properties = [f"--property={text}" for text in properties]
        for path in SOURCES:
            guest.write(f"src/{path}", (ROOT / path).read_bytes())

    def run(self, program: str) -> str:
        self.guest.write("program.py", (PREAMBLE + "cgroups.prepare()\n" + program).encode())
        said = bytearray()
        status = self.guest.run(
            [
                *("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--uid=build"),
                *("--setenv=PYTHONPATH=/home/build/src", *self.properties),
                # A second process in the unit, as there may be on a real host.
                *("sh", "-c", "python3 /home/build/program.py; exit $?"),
            ],
            said.extend,
            user="root",
        )
        assert status == 0, said.decode()
        return said.decode()


@pytest.fixture(params=["here", pytest.param("guest", marks=pytest.mark.vm)])
def run(request):
    """Run a program where the kernel enforces limits; returns what it printed."""
    if request.param == "here":
        if reason := explain():
            pytest.skip(reason)
        return run_here
    return Unit(request.getfixturevalue("real_machine").guest, "Delegate=yes").run


# What the kernel enforces


def test_every_limit_can_be_enforced(run):
    assert run("print(cgroups.explain())") == "None\n"


def test_who_takes_more_memory_than_allowed_is_killed(run):
    said = run("""
modest, greedy = child("bytearray(16 * 2**20)"), child("bytearray(256 * 2**20)")
for process in (modest, greedy):
    with limited("machine", LIMITS) as group:
        group.add(process.pid)
        go(process)
        print(process.wait(60))
""")
    assert said.split() == ["0", "-9"]


def test_a_fork_bomb_stops_at_its_limit_and_is_gone_with_the_block(run):
    said = run("""
bomb = child('''
import os
while True:
    try:
        os.fork()
    except OSError:
        os.write(1, b"!")
''')
with limited("machine", LIMITS) as group:
    group.add(bomb.pid)
    go(bomb)
    print(bomb.stdout.read(1))
    bombs = members(group)
    print(1 < len(bombs) <= LIMITS.processes)
print(is_gone(group), all(processes.has_ended(pid) for pid in bombs))
""")
    assert said.split() == ["!", "True", "True", "True"]


def test_the_kernel_has_been_told_how_much_processor_time_that_is(run):
    said = run("""
files = ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us")
with limited("machine", LIMITS) as group:
    told = [path / file for path in group.directories for file in files]
    print(*(file.read_text().strip() for file in told if file.exists()))
""")
    assert said.split() == ["100000", "100000"]


# What is left of a group


def test_a_block_that_raises_leaves_neither_group_nor_processes(run):
    said = run("""
sleeper = child("")
try:
    with limited("machine", LIMITS) as group:
        group.add(sleeper.pid)
        raise ValueError
except ValueError:
    print(is_gone(group), sleeper.wait(10))
""")
    assert said.split() == ["True", "-9"]


def test_a_process_that_has_ended_needs_no_limits(run):
    said = run("""
ended = subprocess.Popen(["true"])
ended.wait()
with limited("machine", LIMITS) as group:
    group.add(ended.pid)
    print(members(group))
""")
    assert said.split() == ["[]"]


def test_machines_of_one_name_have_a_group_each(run):
    said = run("""
with limited("machine", LIMITS) as first, limited("machine", LIMITS) as second:
    print(set(first.directories) & set(second.directories))
print(is_gone(first), is_gone(second))
""")
    assert said.split() == ["set()", "True", "True"]


def test_what_a_killed_owner_left_is_removed_and_what_a_living_one_has_is_kept(run):
    said = run("""
OWNER = '''
import subprocess, sys
from worker.cgroups import Limits, limited
sleeper = subprocess.Popen(["sleep", "300"])
with limited("machine", Limits(memory=2**26, cpus=1, processes=32)) as group:
    group.add(sleeper.pid)
    print(sleeper.pid, *group.directories, flush=True)
    sleeper.wait()
'''
owners = [child(OWNER), child(OWNER)]
told = []
for owner in owners:
    go(owner)
    told.append(owner.stdout.readline().split())
killed, living = owners
killed.kill()
killed.wait()
removed = cgroups.remove_leftovers()
print({os.path.basename(path) for path in told[0][1:]} <= set(removed))
for pid, *directories in told:
    print(processes.has_ended(int(pid)), {os.path.exists(path) for path in directories})
os.kill(int(told[1][0]), signal.SIGKILL)
print(living.wait(10), {os.path.exists(path) for path in told[1][1:]})
""")
    assert said.splitlines() == ["True", "True {False}", "False {True}", "0 {False}"]


# A host that does not let us


@pytest.mark.vm
def test_a_unit_that_is_not_delegated_runs_without_limits_and_says_so(real_machine):
    said = Unit(real_machine.guest).run("""
sleeper = child("")
with limited("machine", LIMITS) as group:
    group.add(sleeper.pid)
    print(group.directories)
go(sleeper)
print(sleeper.wait(10))
print(cgroups.explain())
""")
    directories, status, reason = said.splitlines()
    assert (directories, status) == ("()", "0")
    assert "limits of processors, memory, processes: /sys/fs/cgroup/system.slice/run-" in reason
    assert "Delegate=yes" in reason


def test_a_host_without_cgroups_runs_without_limits_and_says_so(tmp_path):
    host = Host(tmp_path, "")
    with limited("machine", LIMITS, host) as group:
        group.add(os.getpid())
    assert f"processors, memory, processes: {tmp_path}: no such controller" in explain(host)


def test_what_can_be_limited_is_limited_and_the_rest_is_named(tmp_path):
    own = tmp_path / "pids/ci"
    own.mkdir(parents=True)
    host = Host(tmp_path, "3:pids:/ci\n2:memory:/elsewhere\n0::/\n")
    with limited("machine", LIMITS, host) as group:
        assert [path.parent for path in group.directories] == [own]
        forget_files(group)
    assert "limits of processors, memory: " in explain(host)
    assert f"{tmp_path}/memory/elsewhere/buildsrht-vm." in explain(host)


# v2's files


@pytest.fixture
def v2(tmp_path):
    """A host whose systemd has delegated the unit `ci` to us, as far as plain files go."""
    unit = tmp_path / "system.slice/ci.service"
    unit.mkdir(parents=True)
    for directory in (tmp_path, unit):
        (directory / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (directory / "cgroup.subtree_control").write_text("")
    (unit / "cgroup.type").write_text("domain\n")
    (unit / "cgroup.procs").write_text("")
    return Host(tmp_path, "0::/system.slice/ci.service\n")


def forget_files(group):
    """A cgroup's files go with its directory; plain ones do not."""
    for directory in group.directories:
        for file in directory.iterdir():
            file.unlink()


def test_preparing_asks_for_the_controllers_that_limits_need_and_no_other(v2):
    prepare(v2)
    asked = (v2.v2 / "cgroup.subtree_control").read_text()
    assert sorted(asked.split()) == ["+cpu", "+memory", "+pids"]
    assert (v2.v2 / LEAF).is_dir()


def test_a_group_is_a_sibling_of_the_leaf_that_we_are_in(v2):
    unit = v2.v2
    (unit / "cgroup.subtree_control").write_text("cpu memory pids\n")
    inside = Host(v2.root, f"0::/system.slice/ci.service/{LEAF}\n")
    with limited("machine", LIMITS, inside) as group:
        [directory] = group.directories
        told = {file.name: file.read_text() for file in directory.iterdir()}
        forget_files(group)
    assert directory.parent == unit
    assert told == {"cpu.max": "200000 100000", "memory.max": f"{64 * MIB}", "pids.max": "32"}
    assert not directory.exists()


def test_a_host_that_hands_nothing_down_is_left_as_it_is(v2):
    (v2.v2 / "cgroup.controllers").write_text("cpuset io\n")
    prepare(v2)
    assert not (v2.v2 / LEAF).exists()


def test_a_group_of_another_container_is_not_ours_to_judge(tmp_path):
    of_another_container = tmp_path / "buildsrht-vm.machine.0.1.1.1"
    of_a_dead_process = tmp_path / f"buildsrht-vm.machine.0.{pid_namespace()}.1.1"
    of_somebody_else = tmp_path / "docker-1.1.1.1"
    for directory in (of_another_container, of_a_dead_process, of_somebody_else):
        directory.mkdir()
    assert cgroups.remove_leftovers(Host(tmp_path, "")) == [of_a_dead_process.name]
    assert sorted(tmp_path.iterdir()) == sorted([of_another_container, of_somebody_else])


def pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino
