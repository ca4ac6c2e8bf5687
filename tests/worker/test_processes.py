"""A process is never mistaken for another."""

import os
import subprocess

from worker.processes import start_time


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
