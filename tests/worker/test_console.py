"""What is kept of a guest's serial line: its end, and of a panic what explains it."""

import socket

import pytest

from worker.console import CONSOLE_BYTES, REPORT_LINES, Console

BOOT = b"[    0.000000] Linux version 6.12\r\n"
PANIC = (
    b"[   12.1] sysrq: Trigger a crash\r\n[   12.2] Kernel panic - not syncing: Fatal exception\r\n"
)
STALE = b"[   12.0] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\r\n"


@pytest.fixture
def heard():
    """A console that has heard that, all of it."""

    def hear(said: bytes) -> Console:
        ours, theirs = socket.socketpair()
        console = Console(ours)
        with theirs:
            theirs.sendall(said)
        return console

    return hear


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (BOOT, None),
        (BOOT + PANIC, "its kernel panicked"),
        (BOOT + b"[   9.1] reboot: Power down\r\n", "it powered itself off"),
    ],
)
def test_it_knows_why_a_guest_ended_if_its_kernel_said_so(heard, said, meaning):
    assert heard(said).last_words() == meaning


def test_a_kernel_that_its_emulation_has_misled_is_not_to_blame(heard):
    assert heard(BOOT + STALE + PANIC).was_misled()
    assert "emulated" in heard(BOOT + STALE + PANIC).last_words()
    assert not heard(BOOT + PANIC).was_misled()
    assert not heard(BOOT + STALE).was_misled()


def test_of_a_panic_it_reports_what_the_kernel_said_around_it(heard):
    trace = b"".join(b"[    1.%d] line\r\n" % number for number in range(100))
    report = heard(trace + PANIC + trace).report().splitlines()
    assert len(report) == 2 * REPORT_LINES
    assert report[REPORT_LINES - 1 : REPORT_LINES + 1] == PANIC.decode().splitlines()


def test_of_any_other_end_it_reports_nothing(heard):
    assert heard(BOOT + b"[   9.1] reboot: Power down\r\n").report() == ""


def test_a_guest_that_says_very_much_takes_up_no_memory(heard):
    console = heard(b"x" * 3 * CONSOLE_BYTES)
    assert console.tail() == b"x" * CONSOLE_BYTES
