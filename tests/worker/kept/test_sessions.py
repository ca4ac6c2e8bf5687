"""Sessions in a guest, on the real agent in a fake one: shells, commands, and what they get in each
other's way, which is nothing."""

import asyncio
import hashlib
import json
import socket
import struct
import time
from contextlib import asynccontextmanager, closing

import pytest

from tests.worker.fakes import fake_machine
from worker.errors import GuestLost, GuestRefused
from worker.guest import HEADER, AgentGuest
from worker.kept.sessions import (
    CHUNK,
    CLOSED,
    CREDIT,
    ERRORS,
    MOST_PIECES,
    MOST_SESSIONS,
    MOST_UNREAD,
    OUTPUT,
    WINDOW,
    Sessions,
    attending,
)

MIB = 1024 * 1024
ANSWER_SECONDS = 60


@pytest.fixture
def machine(tmp_path):
    with fake_machine(tmp_path / "fake") as machine:
        yield machine


@asynccontextmanager
async def some_sessions(guest):
    async with asyncio.timeout(ANSWER_SECONDS):
        async with attending(guest, time.monotonic() + ANSWER_SECONDS) as sessions:
            yield sessions
            await sessions.quit()


def request(script=None, terminal=None, **changes):
    argv = None if script is None else ["bash", "-c", script]
    return {"argv": argv, "user": "build", "env": {}, "terminal": terminal, **changes}


def terminal(columns=80, rows=24, term="xterm-256color"):
    return {"term": term, "columns": columns, "rows": rows}


async def send(session, data):
    while data:
        size = await session.may_send()
        session.send(data[:size])
        data = data[size:]


async def rest_of(session):
    """Everything until its end: output, errors, and how it was closed."""
    heard = {OUTPUT: b"", ERRORS: b""}
    while (said := await session.next_said()).kind != CLOSED:
        heard[said.kind] += said.data
        session.taken(said)
    return heard[OUTPUT], heard[ERRORS], json.loads(said.data)


async def until(session, text):
    """Read output until `text` is in it."""
    heard = b""
    while text not in heard:
        said = await session.next_said()
        assert said.kind != CLOSED, heard
        heard += said.data
        session.taken(said)
    return heard


def converse(machine, conversation):
    """Run a conversation with all sessions of this machine; what it returns."""

    async def run():
        async with some_sessions(machine.guest) as sessions:
            return await conversation(sessions)

    return asyncio.run(run())


def command(machine, script, data=b"", **options):
    """Run one command to its end, with this input."""

    async def conversation(sessions):
        session = sessions.open(request(script, **options))
        sending = asyncio.ensure_future(send(session, data))
        sending.add_done_callback(lambda _: session.end_input())
        heard = await rest_of(session)
        sending.cancel()
        return heard

    return converse(machine, conversation)


# --- commands -------------------------------------------------------------------------------------


def test_output_and_errors_of_a_command_come_apart(machine):
    assert command(machine, "echo out; echo err >&2") == (b"out\n", b"err\n", {"status": 0})


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -15), ("kill -KILL $$", -9)],
)
def test_the_status_is_the_exit_code_or_the_signal_that_ended_it(machine, script, status):
    assert command(machine, script)[2] == {"status": status}


def test_a_command_that_does_not_exist_ends_with_127_and_says_so(machine):
    _, errors, closed = command(machine, None, argv=["no-such-command"])
    assert closed == {"status": 127}
    assert b"no-such-command" in errors


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": "nobody-here"}, "nobody-here"),
        ({"argv": []}, "list index out of range"),
        ({"colour": "red"}, "colour"),
        ({"terminal": {"term": "xterm"}}, "columns"),
    ],
)
def test_what_cannot_be_opened_is_refused_and_the_next_one_is_fine(machine, changes, said):
    async def conversation(sessions):
        refused = sessions.open({**request("true"), **changes})
        accepted = sessions.open(request("echo fine"))
        return await rest_of(refused), await rest_of(accepted)

    refused, accepted = converse(machine, conversation)
    assert said in refused[2]["error"]
    assert accepted == (b"fine\n", b"", {"status": 0})


def test_it_starts_in_the_home_of_its_user_with_its_variables(machine):
    script = 'test "$PWD" = "$HOME" && echo "$USER $GREETING"'
    assert command(machine, script, env={"GREETING": "hello"})[0] == b"build hello\n"


def test_input_goes_in_and_its_end_is_noticed(machine):
    assert command(machine, "cat; echo end", b"one\ntwo\n") == (
        b"one\ntwo\nend\n",
        b"",
        {"status": 0},
    )


def test_a_large_file_goes_in_and_comes_back_whole(machine):
    content = b"".join(struct.pack(">I", number) for number in range(2 * MIB))
    output, _, closed = command(machine, "cat >file; cat file", content)
    assert closed == {"status": 0}
    assert hashlib.sha256(output).digest() == hashlib.sha256(content).digest()


def test_a_flood_on_both_output_and_errors_comes_whole(machine):
    flood = f"head -c {16 * WINDOW} /dev/zero"
    output, errors, closed = command(machine, f"{flood} & {flood} >&2 && wait $!")
    assert (len(output), len(errors), closed) == (16 * WINDOW, 16 * WINDOW, {"status": 0})


def test_input_that_nobody_reads_is_thrown_away_and_does_not_hold_up_the_end(machine):
    assert command(machine, "exec <&-; sleep 0.2; echo done", b"x" * MIB)[0] == b"done\n"


def test_what_a_command_left_running_does_not_hold_up_its_end(machine):
    assert command(machine, "sleep 120 & echo started") == (b"started\n", b"", {"status": 0})
    endless = "(trap '' HUP PIPE; timeout 60 yes) & exit 3"
    assert command(machine, endless)[2] == {"status": 3}


# --- terminals ------------------------------------------------------------------------------------


def test_a_terminal_has_the_size_and_the_name_that_were_asked_for(machine):
    output, errors, closed = command(
        machine, 'stty size; echo "$TERM"; tty', terminal=terminal(132, 43)
    )
    assert output.startswith(b"43 132\r\nxterm-256color\r\n/dev/pts/")
    assert (errors, closed) == (b"", {"status": 0})


def test_a_change_of_its_size_is_told_to_what_runs_in_it(machine):
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done"

    async def conversation(sessions):
        session = sessions.open(request(script, terminal()))
        await until(session, b"ready")
        session.resize(100, 50)
        return await rest_of(session)

    assert b"50 100\r\n" in converse(machine, conversation)[0]


def test_an_interrupt_that_is_typed_reaches_the_foreground_only(machine):
    """Job control: the shell survives, and says what became of its job."""

    async def conversation(sessions):
        session = sessions.open(request(None, terminal()))
        await send(session, b"PS1='<$((3 * 3))>'\n")
        await until(session, b"<9>")
        await send(session, b"sh -c 'echo in$((2)); exec sleep 60'\n")
        await until(session, b"in2")
        await send(session, b"\x03")
        await until(session, b"<9>")
        await send(session, b"echo status $?\n")
        await until(session, b"status 130")
        await send(session, b"exit 5\n")
        return await rest_of(session)

    assert converse(machine, conversation)[2] == {"status": 5}


def test_without_a_command_it_is_a_login_shell(machine):
    (machine.home / ".bash_profile").write_text("echo from the profile\n")

    async def conversation(sessions):
        session = sessions.open(request())
        await send(session, b"shopt -q login_shell && echo login\n")
        session.end_input()
        return await rest_of(session)

    assert converse(machine, conversation) == (b"from the profile\nlogin\n", b"", {"status": 0})


def test_the_end_of_input_ends_a_shell_in_a_terminal_too(machine):
    async def conversation(sessions):
        session = sessions.open(request(None, terminal()))
        await send(session, b"PS1='<$((3 * 3))>'\n")
        # While it waits for a line: a terminal forgets an end that comes between two.
        await until(session, b"<9>")
        session.end_input()
        return await rest_of(session)

    assert converse(machine, conversation)[2] == {"status": 0}


@pytest.mark.parametrize("on", [None, terminal()], ids=["pipes", "terminal"])
def test_a_signal_reaches_what_runs(machine, on):
    script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done"

    async def conversation(sessions):
        session = sessions.open(request(script, on))
        await until(session, b"ready")
        session.signal("NO-SUCH-SIGNAL")
        session.signal("INT")
        return await rest_of(session)

    output, _, closed = converse(machine, conversation)
    assert b"interrupted" in output
    assert closed == {"status": 9}


# --- side by side ---------------------------------------------------------------------------------


def test_one_whose_reader_is_stuck_holds_up_no_other(machine):
    """Neither what it would say nor what it is sent."""

    async def conversation(sessions):
        stuck = sessions.open(request("yes"))
        deaf = sessions.open(request("sleep 60"))
        await stuck.next_said()
        filling = asyncio.ensure_future(send(deaf, b"x" * 4 * WINDOW))
        others = [rest_of(sessions.open(request(f"seq 100000; echo {n}"))) for n in range(3)]
        heard = [output[-3:] for output, _, _ in await asyncio.gather(*others)]
        assert not filling.done()
        filling.cancel()
        return heard

    assert converse(machine, conversation) == [b"\n0\n", b"\n1\n", b"\n2\n"]


@pytest.mark.parametrize("on", [None, terminal()], ids=["pipes", "terminal"])
def test_hanging_up_ends_what_runs_and_says_why(machine, on):
    # Its errors go nowhere: a shell that says so of a child that was hung up has nobody to listen.
    trap = (
        "exec 2>/dev/null; trap 'echo hung up >left; exit' HUP; echo ready;"
        " while :; do sleep 0.05; done"
    )

    async def conversation(sessions):
        session = sessions.open(request(trap, on))
        await until(session, b"ready")
        session.hang_up()
        closed = (await rest_of(session))[2]
        await rest_of(sessions.open(request("until test -s left; do sleep 0.05; done")))
        return closed

    assert converse(machine, conversation) == {"error": "hung up"}
    assert (machine.home / "left").read_text() == "hung up\n"


def test_more_than_a_guest_would_serve_at_once_are_refused(machine):
    async def conversation(sessions):
        for _ in range(64):
            sessions.open(request("sleep 60"))
        return await rest_of(sessions.open(request("true")))

    assert converse(machine, conversation)[2] == {"error": "at most 64 sessions at once"}


def test_afterwards_the_guest_takes_requests_again_and_sessions_once_more(machine):
    for _ in range(2):
        assert command(machine, "echo one")[0] == b"one\n"
        output = []
        assert machine.guest.run(["echo", "two"], output.append) == 0
        assert output == [b"two\n"]


def test_sessions_that_are_open_are_hung_up_when_it_is_over(machine):
    async def conversation(sessions):
        session = sessions.open(
            request(
                "exec 2>&-; trap 'touch left; exit' HUP; echo ready; while :; do sleep 0.05; done"
            )
        )
        await until(session, b"ready")
        return session

    converse(machine, conversation)
    assert machine.guest.run(["bash", "-c", "until test -e left; do :; done"], lambda _: None) == 0


# --- a guest that is gone, or hostile -------------------------------------------------------------


def test_whoever_listens_learns_that_the_guest_is_gone(machine):
    async def listen():
        async with attending(machine.guest, time.monotonic() + ANSWER_SECONDS) as sessions:
            session = sessions.open(request("echo ready; sleep 60"))
            await until(session, b"ready")
            machine.kill()
            with pytest.raises(GuestLost):
                await rest_of(session)

    asyncio.run(listen())


def frame(kind, number, data=b""):
    return HEADER.pack(kind, 4 + len(data)) + struct.pack(">I", number) + data


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([frame(OUTPUT, 1, b"x" * (WINDOW + 1))], "more than it was asked for"),
        ([frame(OUTPUT, 2, b"x")], "a session 2, which there is not"),
        ([frame(CLOSED, 1, b"{}"), frame(OUTPUT, 1, b"x")], "a session 1, which there is not"),
        ([frame(b"?", 1)], "unknown kind"),
        ([HEADER.pack(OUTPUT, 2**31)], "a frame of 2147483648 bytes"),
        ([frame(CREDIT, 1, b"xyz")], "credit that is no number"),
        ([HEADER.pack(b"H", 2) + b"{}"], "killed and started again"),
        ([HEADER.pack(b"B", 0)], "shut down from inside"),
    ],
)
def test_a_guest_that_does_not_keep_to_the_protocol_is_lost(frames, said):
    async def listen(ours, theirs):
        sessions = Sessions(*await asyncio.open_connection(sock=ours))
        sessions.open(request("true"))
        await asyncio.get_running_loop().sock_sendall(theirs, b"".join(frames))
        with pytest.raises(GuestLost, match=said):
            await asyncio.wait_for(sessions.lost, ANSWER_SECONDS)

    ours, theirs = socket.socketpair()
    with closing(theirs):
        theirs.setblocking(False)
        asyncio.run(listen(ours, theirs))


def with_hostile_guest(conversation):
    """`conversation(sessions, say)`; whatever the guest shall say is for it to know."""

    async def run(ours, theirs):
        sessions = Sessions(*await asyncio.open_connection(sock=ours))

        async def say(data):
            await asyncio.get_running_loop().sock_sendall(theirs, data)

        async with asyncio.timeout(3 * ANSWER_SECONDS):
            try:
                return await conversation(sessions, say)
            finally:
                sessions.lost.cancel()

    ours, theirs = socket.socketpair()
    with closing(theirs):
        theirs.setblocking(False)
        return asyncio.run(run(ours, theirs))


def test_a_guest_that_says_nothing_again_and_again_takes_up_no_memory():
    async def conversation(sessions, say):
        session = sessions.open(request("true"))
        await say(frame(OUTPUT, 1) * 100_000 + frame(CLOSED, 1, b"{}"))
        return await session.next_said()

    assert with_hostile_guest(conversation) == (CLOSED, b"{}")


def test_a_guest_that_says_each_byte_by_itself_takes_up_no_more_than_its_window():
    async def conversation(sessions, say):
        session = sessions.open(request("true"))
        await say((frame(OUTPUT, 1, b"o") + frame(ERRORS, 1, b"e")) * (WINDOW // 2))
        await say(frame(CLOSED, 1, b"{}"))
        # Nobody listens to it until it has said all that.
        await asyncio.wait_for(until_heard(sessions, say), ANSWER_SECONDS)
        said = [await session.next_said()]
        while said[-1].kind != CLOSED:
            said.append(await session.next_said())
        return said

    async def until_heard(sessions, say):
        other = sessions.open(request("true"))
        await say(frame(CLOSED, 2, b"{}"))
        await other.next_said()

    said = with_hostile_guest(conversation)
    assert len(said) <= MOST_PIECES + 1
    assert b"".join(each.data for each in said if each.kind == OUTPUT) == b"o" * (WINDOW // 2)
    assert b"".join(each.data for each in said if each.kind == ERRORS) == b"e" * (WINDOW // 2)


def test_a_guest_that_asks_for_ever_more_and_reads_nothing_is_lost():
    async def conversation(sessions, say):
        session = sessions.open(request("true"))

        async def feed():
            for _ in range(2 * MOST_UNREAD // CHUNK):
                session.send(bytes(await session.may_send()))
                await say(frame(CREDIT, 1, struct.pack(">I", CHUNK)))

        feeding = asyncio.create_task(feed())
        await asyncio.wait([feeding, sessions.lost], return_when=asyncio.FIRST_COMPLETED)
        feeding.cancel()
        with pytest.raises(GuestLost):
            await asyncio.wait_for(sessions.lost, 1)

    with_hostile_guest(conversation)


def test_a_guest_that_never_says_that_a_session_ended_gets_only_so_many():
    async def conversation(sessions, say):
        for _ in range(MOST_SESSIONS):
            sessions.open(request("true")).hang_up()
        with pytest.raises(GuestRefused, match=f"{MOST_SESSIONS} sessions in this machine"):
            sessions.open(request("true"))

    with_hostile_guest(conversation)


def test_an_agent_from_before_there_were_sessions_is_told_apart():
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        guest = AgentGuest(ours)
        assert not guest.has_sessions
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(GuestLost):
            guest.wait_until_up(time.monotonic() + ANSWER_SECONDS)
        assert not guest.has_sessions


def test_an_agent_of_today_has_sessions(machine):
    assert machine.guest.has_sessions
