"""What QEMU says of a host that fails its guest, and what is done about it."""

import json
import socket
import threading
from contextlib import suppress

import pytest

from worker.hardships import Hardships

SECONDS = 10
GREETING = {"QMP": {"version": {}, "capabilities": []}}
ANSWER = {"return": {}}
STOPPED = {"event": "STOP", "timestamp": {}}


def failed(reason="No space left on device"):
    data = {"device": "", "operation": "write", "action": "stop", "reason": reason}
    return {"event": "BLOCK_IO_ERROR", "data": data, "timestamp": {}}


@pytest.fixture
def heard():
    """What has heard these lines, all of them, and how often it had the machine destroyed."""

    def hear(*lines):
        ours, theirs = socket.socketpair()
        destroyed = []
        hardships = Hardships(ours, lambda: destroyed.append(True))
        with theirs:
            assert json.loads(theirs.makefile().readline()) == {"execute": "qmp_capabilities"}
            for line in lines:
                text = line if isinstance(line, str) else json.dumps(line)
                with suppress(BrokenPipeError, ConnectionResetError):
                    theirs.sendall(text.encode() + b"\r\n")
        for thread in threading.enumerate():
            if thread.name == "hardships":
                thread.join(SECONDS)
        return hardships.reason, len(destroyed)

    return hear


def test_a_machine_whose_host_could_not_write_is_destroyed_and_it_is_known_why(heard):
    assert heard(GREETING, ANSWER, failed(), STOPPED) == (
        "the disk of the build host failed it: No space left on device",
        1,
    )


def test_once_is_enough_and_the_first_reason_stands(heard):
    reason, times = heard(failed("first"), failed("second"))
    assert (reason, times) == ("the disk of the build host failed it: first", 1)


def test_nothing_else_that_qemu_says_matters(heard):
    assert heard(GREETING, ANSWER, STOPPED, {"event": "SHUTDOWN"}) == (None, 0)


def test_what_is_cut_in_the_middle_is_nothing(heard):
    assert heard(GREETING, json.dumps(failed())[:20]) == (None, 0)


@pytest.mark.parametrize("line", ["[]", "[" * 30_000, '"x"', "\udcff", '{"event": []}'])
def test_what_no_qemu_says_ends_nothing_and_hides_nothing(heard, line):
    text = line.encode(errors="surrogateescape").decode("latin-1")
    assert heard(GREETING, text, failed())[1] == 1


def test_a_reason_may_be_missing_and_is_never_long(heard):
    assert heard({"event": "BLOCK_IO_ERROR"})[0].endswith("failed it: an error")
    assert len(heard(failed("x" * 10_000))[0]) < 300


def test_a_qemu_that_says_too_much_is_ended(heard):
    assert heard(GREETING, "x" * 70_000) == ("its QEMU says what no QEMU says", 1)
