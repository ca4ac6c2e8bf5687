"""A child never outlives the one who started it, nor its own stop."""

import os
import signal
import subprocess
import sys

import pytest

from buildsrht import processes


def start_shell(script, **options):
    return processes.start(["sh", "-c", script], stdout=subprocess.PIPE, **options)


def next_number(process):
    return int(process.stdout.readline())


def test_a_child_that_ends_when_asked_may_end_in_its_own_way():
    child = start_shell("trap 'exit 7' TERM; echo 0; while :; do sleep 0.01; done")
    next_number(child)

    processes.stop(child, signal.SIGTERM, grace_seconds=10)

    assert child.returncode == 7


def test_a_child_that_ignores_the_question_is_killed():
    child = start_shell("trap '' TERM; echo 0; while :; do sleep 0.01; done")
    next_number(child)

    processes.stop(child, signal.SIGTERM, grace_seconds=0.1)

    assert child.returncode == -signal.SIGKILL


def test_stopping_ends_what_the_child_started_too():
    child = start_shell("(trap '' TERM; exec sleep 600) & echo $!; wait")
    grandchild = next_number(child)

    processes.stop(child, signal.SIGTERM, grace_seconds=10)

    assert processes.has_ended(grandchild, wait_seconds=10)


def test_stopping_what_already_ended_still_ends_what_it_left_behind():
    child = start_shell("sleep 600 & echo $!")
    grandchild = next_number(child)
    assert processes.has_ended(child.pid, wait_seconds=10)

    processes.stop(child, signal.SIGTERM, grace_seconds=10)

    assert child.returncode == 0
    assert processes.has_ended(grandchild, wait_seconds=10)


def test_stopping_twice_does_no_harm():
    child = start_shell("exec sleep 600")

    processes.stop(child, signal.SIGTERM, grace_seconds=10)
    processes.stop(child, signal.SIGTERM, grace_seconds=10)

    assert child.returncode == -signal.SIGTERM


def test_a_terminals_ctrl_c_does_not_reach_a_child():
    child = start_shell("ps -o sid= -p $$")

    # The terminal signals the processes of its own session only.
    assert next_number(child) == child.pid
    processes.stop(child, signal.SIGTERM, grace_seconds=10)


def test_a_process_that_runs_has_not_ended():
    child = start_shell("exec sleep 600")

    assert not processes.has_ended(child.pid)

    processes.stop(child, signal.SIGTERM, grace_seconds=10)
    assert processes.has_ended(child.pid)


STARTS_A_CHILD = """
import signal
from buildsrht import processes

command = [*processes.dies_with_us(signal.SIGTERM), "sh", "-c", "echo $$; exec sleep 600"]
processes.start(command).wait()
"""


def test_a_child_gets_its_last_signal_when_we_are_killed():
    owner = subprocess.Popen([sys.executable, "-c", STARTS_A_CHILD], stdout=subprocess.PIPE)
    child = next_number(owner)

    owner.kill()
    owner.wait()

    assert processes.has_ended(child, wait_seconds=10)


def test_a_child_is_killed_with_the_process_that_forked_it():
    program = (
        "import os, time\n"
        "from buildsrht.processes import die_with_parent\n"
        "if os.fork() == 0:\n"
        "    die_with_parent()\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        assert processes.has_ended(child, wait_seconds=10)


CRASH = """
import os, resource
from buildsrht.processes import leave_no_core
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
{first}
child = os.fork()
if not child:
    os.abort()
print(os.WCOREDUMP(os.waitpid(child, 0)[1]))
"""


def crash(directory, first=""):
    command = [sys.executable, "-c", CRASH.format(first=first)]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=directory, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_crash_leaves_no_core(tmp_path):
    if crash(tmp_path) == "False":
        pytest.skip("no process of this machine leaves one")
    for core in tmp_path.iterdir():
        core.unlink()

    held = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.geteuid() or os.setuid(65534)"
    for first in ("leave_no_core()", f"{held}; leave_no_core()"):
        assert crash(tmp_path, first) == "False"
    assert list(tmp_path.iterdir()) == []
