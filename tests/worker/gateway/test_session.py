"""One channel, without a client: what it does with what no client of ours would send."""

from signal import Signals

import pytest

from worker.gateway import session
from worker.gateway.session import Killed, Session, ending_of


class Channel:
    aborted = False

    def abort(self):
        self.aborted = True


@pytest.fixture
def channel():
    return Channel()


@pytest.fixture
def opened(channel):
    async def nothing(_):
        return 0

    opened = Session(nothing, lambda _: None)
    opened.connection_made(channel)
    return opened


def test_a_client_that_floods_with_signals_is_cut_off(opened, channel):
    opened.listen()
    for _ in range(session.MOST_BYTES // session.FRAME_BYTES):
        opened.signal_received("USR1")

    assert channel.aborted


def test_a_signal_that_nobody_knows_is_none(opened, channel):
    opened.listen()
    for _ in range(session.MOST_BYTES // session.FRAME_BYTES):
        opened.signal_received("EVIL")

    assert not channel.aborted


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (("xterm-256color", (100, 30, 0, 0)), ("xterm-256color", 100, 30)),
        (("vt100", (0, 0, 0, 0)), ("vt100", 80, 24)),
        (("vt100", (2**32 - 1, 2**32 - 1, 0, 0)), ("vt100", 65535, 65535)),
        (("../../evil", (80, 24, 0, 0)), ("dumb", 80, 24)),
        (("", (80, 24, 0, 0)), ("dumb", 80, 24)),
    ],
)
def test_a_terminal_is_one_that_there_can_be(opened, asked, got):
    assert opened.pty_requested(*asked, {})

    assert (opened.terminal.term, opened.terminal.columns, opened.terminal.rows) == got


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (0, 0),
        (255, 255),
        (-Signals.SIGTERM, Killed("TERM")),
        (-Signals.SIGXCPU, 128 + Signals.SIGXCPU),
        (-200, 72),
    ],
)
def test_how_a_command_ended_is_told_as_ssh_can_tell_it(status, ending):
    assert ending_of(status) == ending
