"""What every guest does, whatever is behind it: each test runs against the fake and a real one."""

import contextlib
import hashlib
import socket
import struct
import threading
import time

import pytest

from worker.errors import BootTimeout, GuestLost, GuestRefused
from worker.guest import DATA, HEADER, AgentGuest, File, Identity

MIB = 1024 * 1024


def run(guest, script, **options):
    """A shell script's exit status and output."""
    output = []
    status = guest.run(["bash", "-c", script], output.append, **options)
    return status, b"".join(output)


def test_a_command_runs_in_the_home_of_its_user_with_a_clean_environment(guest):
    status, output = run(guest, 'test "$PWD" = "$HOME" && echo "$USER $LANG ${VAR-unset}"')
    assert (status, output) == (0, b"build C.UTF-8 unset\n")


def test_both_output_streams_arrive_as_one_in_the_order_written(guest):
    assert run(guest, "echo one; echo two >&2; echo three") == (0, b"one\ntwo\nthree\n")


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -15), ("kill -KILL $$", -9)],
)
def test_the_status_is_the_exit_code_or_the_signal_that_ended_it(guest, script, status):
    assert run(guest, script)[0] == status


def test_a_command_that_does_not_exist_ends_with_127_and_says_so(guest):
    output = []
    assert guest.run(["no-such-command"], output.append) == 127
    assert b"no-such-command" in b"".join(output)


def test_an_unknown_user_is_refused(guest):
    with pytest.raises(GuestRefused, match="nobody-here"):
        run(guest, "true", user="nobody-here")


def test_a_command_reads_an_empty_input(guest):
    assert run(guest, "cat; echo done") == (0, b"done\n")


def test_variables_are_passed_on(guest):
    assert run(guest, 'echo "$GREETING"', env={"GREETING": "a 'b' $c"}) == (0, b"a 'b' $c\n")


def test_arguments_are_not_interpreted(guest):
    output = []
    guest.run(["printf", "%s|", "a b", "$HOME", "", "*"], output.append)
    assert b"".join(output) == b"a b|$HOME||*|"


def test_output_is_a_terminal_where_asked(guest):
    assert run(guest, "test -t 1 && test -t 2 && test ! -t 0", terminal=True) == (0, b"")
    assert run(guest, "test ! -t 1")[0] == 0


@pytest.mark.parametrize("terminal", [False, True])
def test_every_byte_arrives_as_it_was_written(guest, terminal):
    everything = bytes(range(256)) + b"\r\n\n\r"
    guest.write("bytes", everything)
    assert run(guest, "cat bytes", terminal=terminal) == (0, everything)


@pytest.mark.parametrize("terminal", [False, True])
def test_twenty_megabytes_arrive_whole_and_in_order(guest, terminal):
    expected = hashlib.sha256("".join(f"{n}\n" for n in range(1, 2_700_001)).encode())
    received = hashlib.sha256()
    guest.run(["seq", "1", "2700000"], received.update, terminal=terminal)
    assert received.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_left_in_the_background_does_not_hold_the_answer_back(guest, terminal):
    begin = time.monotonic()
    assert run(guest, "sleep 120 & echo started", terminal=terminal) == (0, b"started\n")
    assert time.monotonic() - begin < 60


def test_a_background_process_that_never_stops_writing_does_not_hold_the_answer_back(guest):
    status, _ = run(guest, "(trap '' HUP PIPE; timeout 60 yes) & exit 3", terminal=True)
    assert status == 3


def test_output_comes_while_the_command_runs(guest):
    """The command waits for a file that is only written once its first line has arrived."""
    arrivals = []

    def sink(data):
        arrivals.append((time.monotonic(), data))

    guest.run(["bash", "-c", "echo first; sleep 1; echo second"], sink)
    assert b"".join(data for _, data in arrivals) == b"first\nsecond\n"
    assert arrivals[-1][0] - arrivals[0][0] > 0.5


def test_a_file_is_written_with_its_directories_owner_and_mode(guest):
    guest.write("new/deep/file", b"content\n", mode=0o751)
    script = "cat new/deep/file; stat -c %a new/deep/file; test -O new/deep/file && test -O new"
    assert run(guest, script) == (0, b"content\n751\n")


def test_a_file_that_is_there_is_replaced(guest):
    guest.write("twice", b"a long first content")
    guest.write("twice", b"short")
    assert b"".join(guest.read("twice", limit=MIB)) == b"short"


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 5 * MIB + 3])
def test_a_file_comes_back_as_it_went_in(guest, size):
    content = bytes(n % 251 for n in range(size))
    guest.write("there-and-back", content)
    assert b"".join(guest.read("there-and-back", limit=size)) == content


def test_a_file_may_be_written_from_a_stream(guest):
    guest.write("stream", (b"x" * 1000 for _ in range(1000)))
    assert run(guest, "wc -c <stream") == (0, b"1000000\n")


@pytest.mark.parametrize(
    ("prepare", "path", "reason"),
    [
        ("true", "missing", "No such file"),
        ("mkdir -p directory", "directory", "not a regular file"),
        ("test -p pipe || mkfifo pipe", "pipe", "not a regular file"),
        ("head -c 11 /dev/zero >large", "large", "larger than 10 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_before_the_first_byte(guest, prepare, path, reason):
    run(guest, prepare)
    with pytest.raises(GuestRefused, match=reason):
        guest.read(path, limit=10)


def test_what_cannot_be_written_is_refused_and_the_guest_is_fine_afterwards(guest):
    run(guest, "mkdir -p occupied")
    with pytest.raises(GuestRefused, match="occupied"):
        guest.write("occupied", b"x" * MIB)
    assert run(guest, "echo fine") == (0, b"fine\n")


def test_several_files_are_written_in_one_go_each_with_its_mode(guest):
    guest.write_files(
        [
            File("several/one", b"first\n", mode=0o755),
            File("several/deep/two", b"second\n"),
            File("several/empty", b""),
        ]
    )
    script = "cd several && stat -c '%a %s' one deep/two empty && cat one deep/two && test -O deep"
    assert run(guest, script) == (0, b"755 6\n644 7\n644 0\nfirst\nsecond\n")


def test_many_files_are_written_however_many_they_are(guest):
    guest.write_files([File(f"many/{number}", b"x" * 2000) for number in range(300)])
    assert run(guest, "cat many/* | wc -c") == (0, b"600000\n")


def test_no_file_at_all_is_no_trouble(guest):
    guest.write_files([])
    assert run(guest, "echo fine") == (0, b"fine\n")


def test_the_first_of_several_that_cannot_be_written_is_named_and_the_others_are_there(guest):
    run(guest, "mkdir -p taken/a taken/b")
    with pytest.raises(GuestRefused, match="taken/a"):
        guest.write_files(
            [
                File("before", b"1"),
                File("taken/a", b"2" * MIB),
                File("taken/b", b"3"),
                File("after", b"4"),
            ]
        )
    assert run(guest, "cat before after") == (0, b"14")


def test_it_answers_again_after_each_kind_of_request(guest):
    guest.wait_until_up(time.monotonic() + 20)
    assert run(guest, "echo up") == (0, b"up\n")


# --- what only concerns our end -------------------------------------------------------------------


def test_a_guest_that_never_stops_talking_is_given_up_at_the_deadline_too():
    ours, theirs = socket.socketpair()
    over = threading.Event()

    def flood():
        with contextlib.suppress(OSError):
            while not over.is_set():
                theirs.sendall(HEADER.pack(DATA, 1000) + bytes(1000))

    thread = threading.Thread(target=flood)
    with ours, theirs:
        thread.start()
        begin = time.monotonic()
        with pytest.raises(BootTimeout):
            AgentGuest(ours).become(Identity.new(), begin + 0.3)
        assert time.monotonic() - begin < 5
        over.set()
        ours.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_guest_that_never_answers_is_given_up_at_the_deadline():
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(BootTimeout):
        AgentGuest(ours).wait_until_up(time.monotonic() + 0.05)


def test_a_guest_that_dies_while_we_wait_is_lost(fake_guest):
    with pytest.raises(GuestLost):
        run(fake_guest, "kill -KILL $PPID")


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">cI", kind, len(payload)) + payload


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (frame(b"H", b'{"nonce": null}'), "its agent was killed and started again"),
        (frame(b"B"), "it was shut down from inside"),
        (frame(b"?"), "a frame of unknown kind"),
        (struct.pack(">cI", b"D", 2**31), "a frame of 2147483648 bytes"),
        (frame(b"E", b"no JSON"), "not JSON"),
        (frame(b"E", b"[" * 100_000), "not JSON"),
        (frame(b"E", b"[]"), "not an object"),
        (frame(b"E", b'{"error": "a\\nb\\ud800"}'), r"^a\?b\?$"),
        (frame(b"E", b'{"status": "0"}'), "ended with 0"),
    ],
)
def test_an_agent_that_misbehaves_means_that_the_guest_is_lost(answer, reason):
    """Root in a guest can replace the agent, so nothing that it says is trusted."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        with pytest.raises((GuestLost, GuestRefused), match=reason):
            AgentGuest(ours).run(["true"], lambda data: None)


def test_an_agent_that_sends_more_of_a_file_than_was_asked_for_is_cut_off():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(b"D", b"x" * 60) * 2)
        with pytest.raises(GuestLost, match="more than it was asked for"):
            list(AgentGuest(ours).read("file", limit=100))
