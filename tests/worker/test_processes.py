"""No child outlives its parent, and a process is never mistaken for another."""

import os
import signal
import subprocess
import sys

from buildsrht import processes
from worker.processes import start_time


def test_a_child_is_killed_with_the_process_that_forked_it():
    program = (
        "import os, time\n"
        "from worker.processes import die_with_parent\n"
        "if os.fork() == 0:\n"
        "    die_with_parent()\n"
        "    print(os.getpid(), flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        assert processes.has_ended(child, wait_seconds=10)


def test_the_start_of_a_process_stays_the_same_and_ends_with_it():
    with subprocess.Popen(["sleep", "300"]) as sleeper:
        started = start_time(sleeper.pid)
        assert started == start_time(sleeper.pid) >= start_time(os.getpid())
        sleeper.kill()
    assert start_time(sleeper.pid) is None


def test_a_process_that_ended_and_was_not_waited_for_is_gone():
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(ended.pid) is None
