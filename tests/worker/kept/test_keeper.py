"""Visits to a kept machine, each keeper in a process of its own: how a machine goes on, stands
still again, and ends. The machines are fake."""

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import update

from buildsrht import processes
from buildsrht.models import KeptMachine
from buildsrht.services import kept as service
from tests.worker.fakes import perform
from tests.worker.kept.fakes import KEEPER, keepable_boot
from tests.worker.kept.visitor import HEADER, Visitor, said, wait_until
from worker import janitor
from worker.directories import OWNER
from worker.errors import RunnerError
from worker.kept import clearing, frozen, visits
from worker.kept.visits import close_all, open_machine

TERMINAL = {"term": "xterm", "columns": 80, "rows": 24}


@pytest.fixture(autouse=True)
def _fake_keepers(monkeypatch):
    monkeypatch.setattr(visits, "PROGRAM", KEEPER)


@pytest.fixture
def kept_machine(host, make_kept_job):
    """A host with these options of [ssh], and a machine on it that stands still."""
    hosts = []

    def make(script="echo from the job >file; exit 1", **ssh):
        backend = host(**ssh)
        hosts.append(backend.config)
        return backend, keep_another(backend, script)

    def keep_another(backend, script="exit 1"):
        job = make_kept_job(script)
        perform(backend, job.id, keepable_boot)
        kept = frozen.find(backend.config, job.id)
        assert kept
        return kept

    make.another = keep_another
    yield make
    for config in hosts:
        close_all(config)


def keeper_of(kept):
    return int((kept.directory / OWNER).read_text().split()[0])


def state_of(kept):
    return kept.state and kept.state.name


# --- it goes on -----------------------------------------------------------------------------------


def test_a_visitor_finds_what_was_left_there(kept_machine):
    backend, kept = kept_machine()
    assert said(open_machine(backend.config, kept.job_id), "cat file") == b"from the job\n"


def test_two_who_come_at_once_are_in_the_same_machine(kept_machine):
    backend, kept = kept_machine()
    with ThreadPoolExecutor(4) as pool:
        paths = [pool.submit(open_machine, backend.config, kept.job_id) for _ in range(4)]
        one, two, *_ = {path.result() for path in paths}, paths[0].result()
    assert one == {two}
    with Visitor(two, "until test -e other; do sleep 0.05; done; echo seen") as waiting:
        said(two, "touch other")
        assert waiting.end() == {"status": 0}
        assert waiting.out == b"seen\n"


def test_a_keeper_depends_on_nobody_who_visits(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    pid = keeper_of(kept)
    assert os.getsid(pid) == pid
    assert said(path, "echo $PPID").strip().isdigit()


def test_what_ends_a_session_is_told(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, "echo out; echo err >&2; exit 7") as visitor:
        assert visitor.end() == {"status": 7}
        assert (visitor.out, visitor.err) == (b"out\n", b"err\n")
    with Visitor(path, "kill -9 $$") as visitor:
        assert visitor.end() == {"status": -9}
    with Visitor(path, "true", user="nobody-here") as visitor:
        assert "nobody-here" in visitor.end()["error"]


def test_size_signal_and_end_of_input_are_passed_on(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, "cat; stty size", {**TERMINAL, "columns": 132}) as visitor:
        visitor.type(b"text\n")
        visitor.wait_for(b"text\r\ntext\r\n")
        visitor.tell(b"Z", {"columns": 100, "rows": 50})
        visitor.tell(b"F")
        assert visitor.end() == {"status": 0}
        assert visitor.out.endswith(b"50 100\r\n")
    with Visitor(path, "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done") as visitor:
        visitor.wait_for(b"ready")
        visitor.tell(b"S", {"signal": "INT"})
        assert visitor.end() == {"status": 9}


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (b"I", b"", "expected a frame O first, got b'I'"),
        (b"O", b"[]", "expected an object with argv, env, terminal, user"),
        (b"O", b"nonsense", "Expecting value"),
    ],
)
def test_a_visitor_that_says_nonsense_is_told_so_and_the_next_is_served(
    kept_machine, kind, data, said
):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        line.sendall(HEADER.pack(kind, len(data)) + data)
        with line.makefile("rb") as answers:
            assert said.encode() in answers.read()
    with Visitor(path, "exit 4") as visitor:
        assert visitor.end() == {"status": 4}


def test_a_visitor_who_hangs_up_ends_what_he_ran_also_when_it_takes_no_input(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    trap = "exec 2>&-; trap 'touch hung-up; exit' HUP; echo ready; while :; do sleep 0.05; done"
    visitor = Visitor(path, trap)
    visitor.wait_for(b"ready")
    # More than all buffers hold, so that the end is behind it.
    pushing = threading.Thread(target=push, args=(visitor,))
    pushing.start()
    said(path, "sleep 0.3")
    visitor.break_off()
    pushing.join()
    said(path, "until test -e hung-up; do sleep 0.05; done")


def push(visitor):
    try:
        visitor.type(b"x" * 900_000)
        visitor.type(b"x" * 900_000)
    except OSError:
        pass


# --- it stands still again ------------------------------------------------------------------------


def test_after_a_command_it_lingers_and_is_frozen_again_with_what_was_done(kept_machine):
    backend, kept = kept_machine(linger="1s")
    said(open_machine(backend.config, kept.job_id), "echo more >>file")
    wait_until(lambda: not kept.is_owned)
    assert (state_of(kept), service.find_machine(backend, kept.job_id).ended) == ("frozen-2", None)
    assert [path.name for path in kept.directory.glob("frozen-*")] == ["frozen-2"]
    path = open_machine(backend.config, kept.job_id)
    assert said(path, "cat file") == b"from the job\nmore\n"


def test_a_shell_whose_line_is_lost_is_not_left(kept_machine):
    backend, kept = kept_machine(linger="1s")
    visitor = Visitor(open_machine(backend.config, kept.job_id), terminal=TERMINAL)
    visitor.type(b"echo $((6 * 7)) >typed; echo do''ne\n")
    visitor.wait_for(b"done")
    visitor.hang_up()
    wait_until(lambda: not kept.is_owned)
    assert said(open_machine(backend.config, kept.job_id), "cat typed") == b"42\n"


def test_whoever_comes_while_it_lingers_is_in_the_same_machine(kept_machine):
    backend, kept = kept_machine(linger="60s")
    said(open_machine(backend.config, kept.job_id), "true")
    pid = keeper_of(kept)
    said(open_machine(backend.config, kept.job_id), "true")
    assert (keeper_of(kept), state_of(kept)) == (pid, "frozen-1")


def test_one_that_nobody_came_to_is_as_it_was(kept_machine):
    backend, kept = kept_machine(linger="1s")
    open_machine(backend.config, kept.job_id)
    wait_until(lambda: not kept.is_owned)
    assert state_of(kept) == "frozen-1"


def test_a_session_may_not_last_longer_than_a_job(kept_machine, monkeypatch, tmp_path):
    backend, kept = kept_machine()
    config = tmp_path / "config.ini"
    config.write_text(config.read_text().replace("[worker]\n", "[worker]\njob_timeout = 1s\n"))
    with Visitor(open_machine(backend.config, kept.job_id), "sleep 60") as visitor:
        assert visitor.end() == {
            "error": "the machine ran as long as it may; connect again to go on"
        }
    wait_until(lambda: not kept.is_owned)
    assert state_of(kept) == "frozen-2"


def test_a_keeper_that_is_asked_to_stop_freezes_it_first(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, "echo more >>file; echo ready; sleep 60") as visitor:
        visitor.wait_for(b"ready")
        pid = keeper_of(kept)
        close_all(backend.config)
        assert processes.has_ended(pid)
        assert "the build host is being stopped" in visitor.end()["error"]
    assert state_of(kept) == "frozen-2"
    assert said(open_machine(backend.config, kept.job_id), "tail -1 file") == b"more\n"


def test_what_cannot_be_frozen_again_is_as_it_was_before(kept_machine):
    backend, kept = kept_machine(linger="1s", size="3MiB")
    path = open_machine(backend.config, kept.job_id)
    said(path, "touch more")
    # Others were kept meanwhile.
    (kept.directory.parent / "4711").mkdir()
    (kept.directory.parent / "4711" / "large").write_bytes(os.urandom(2**22))
    wait_until(lambda: not kept.is_owned)
    assert state_of(kept) == "frozen-1"
    assert list(kept.directory.glob("making-*")) == []
    assert said(open_machine(backend.config, kept.job_id), "ls") == b"file\n"


def test_one_whose_keeper_is_killed_loses_what_was_done_since_and_nothing_else(kept_machine):
    backend, kept = kept_machine()
    said(open_machine(backend.config, kept.job_id), "echo more >>file")
    pid = keeper_of(kept)
    os.kill(pid, signal.SIGKILL)
    assert processes.has_ended(pid, 10)
    (kept.directory / "making-2").mkdir()
    janitor.sweep_host(backend)
    assert not (kept.directory / "making-2").exists()
    assert list(backend.config.worker.path.iterdir()) == []
    path = open_machine(backend.config, kept.job_id)
    assert said(path, "cat file") == b"from the job\n"


# --- it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [None, TERMINAL], ids=["pipes", "terminal"])
def test_when_its_owner_leaves_the_last_shell_it_is_gone(kept_machine, terminal):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, terminal=terminal) as visitor:
        visitor.type(b"exit 3\n")
        assert visitor.end() == {"status": 3}
    wait_until(lambda: not kept.directory.exists())
    assert service.find_machine(backend, kept.job_id).reason == "its owner left it"
    with pytest.raises(RunnerError, match=f"no machine of job {kept.job_id} is kept here"):
        open_machine(backend.config, kept.job_id)


def test_as_long_as_anybody_else_is_in_it_it_goes_on(kept_machine):
    backend, kept = kept_machine(linger="1s")
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, "echo ready; read line; echo $line") as other:
        other.wait_for(b"ready")
        with Visitor(path) as visitor:
            visitor.type(b"exit\n")
            assert visitor.end() == {"status": 0}
        other.type(b"still here\n")
        assert other.end() == {"status": 0}
        assert other.out.endswith(b"still here\n")
    wait_until(lambda: not kept.is_owned)
    assert state_of(kept) == "frozen-2"


def test_one_that_is_shut_down_inside_is_gone(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, "kill -TERM $PPID; sleep 60") as visitor:
        assert visitor.end() == {"error": "it was shut down from inside"}
    wait_until(lambda: not kept.directory.exists())
    assert service.find_machine(backend, kept.job_id).reason == "it was shut down from inside"


def test_one_that_is_lost_is_as_it_was_before(kept_machine):
    backend, kept = kept_machine()
    path = open_machine(backend.config, kept.job_id)
    with Visitor(path, "echo more >>file; kill -KILL $PPID; sleep 60") as visitor:
        assert "error" in visitor.end()
    wait_until(lambda: not kept.is_owned)
    path = open_machine(backend.config, kept.job_id)
    assert said(path, "cat file") == b"from the job\n"


# --- it cannot be had -----------------------------------------------------------------------------


def test_no_machine_of_a_job_that_kept_none(host):
    with pytest.raises(RunnerError, match="no machine of job 7 is kept here any more"):
        open_machine(host().config, 7)


def test_none_whose_time_is_over(kept_machine):
    backend, kept = kept_machine(keep="1s")
    wait_until(lambda: kept.is_over)
    with pytest.raises(RunnerError, match="was kept until 20"):
        open_machine(backend.config, kept.job_id)
    clearing.clear(backend)
    assert service.find_machine(backend, kept.job_id).reason == "its time was over"
    assert not kept.directory.exists()


def test_no_more_at_once_than_the_operator_allows(kept_machine):
    backend, kept = kept_machine(machines=1)
    another = kept_machine.another(backend)
    open_machine(backend.config, kept.job_id)
    with pytest.raises(RunnerError, match="1 machines are being looked into on this host"):
        open_machine(backend.config, another.job_id)
    close_all(backend.config)
    assert open_machine(backend.config, another.job_id)


def test_none_on_a_disk_that_is_short(kept_machine):
    backend, kept = kept_machine()
    short = replace(backend.config.worker, disk_reserve=2**60)
    with pytest.raises(RunnerError, match="the disk of this build host is short"):
        open_machine(replace(backend.config, worker=short), kept.job_id)
    assert not kept.is_owned
    assert open_machine(backend.config, kept.job_id)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda kept: os.truncate(kept.state / "memory", 60), "memory: was cut"),
        (lambda kept: (kept.state / "disk").unlink(), "No such file or directory"),
    ],
)
def test_one_that_was_spoilt_says_how_and_can_be_asked_for_again(kept_machine, spoil, reason):
    backend, kept = kept_machine()
    spoil(kept)
    for _ in range(2):
        with pytest.raises(RunnerError, match=f"did not come back: .*{reason}"):
            open_machine(backend.config, kept.job_id)
    assert not kept.is_owned


def test_one_whose_key_does_not_open_is_the_operators_to_mend(kept_machine):
    backend, kept = kept_machine()
    with backend.transaction() as session:
        session.execute(update(KeptMachine).values(sealed_key=b"x" * 61))
    with pytest.raises(
        RunnerError, match=r"did not come back: .* for the operator to mend"
    ) as told:
        open_machine(backend.config, kept.job_id)
    assert str(backend.config.keys.path) not in str(told.value)


def test_one_that_the_database_says_is_gone_does_not_come_back(kept_machine):
    backend, kept = kept_machine()
    service.end_machine(backend, kept.job_id, "its owner left it")
    with pytest.raises(RunnerError, match="is gone: its owner left it"):
        open_machine(backend.config, kept.job_id)


def test_a_path_that_no_socket_can_have_is_the_operators_to_mend(kept_machine):
    backend, kept = kept_machine()
    long = kept.directory.parent.with_name("x" * 120)
    kept.directory.parent.rename(long)
    config = replace(backend.config, ssh=replace(backend.config.ssh, path=long))
    with pytest.raises(RunnerError, match=r"longer than 107 bytes; see \[ssh\] path"):
        open_machine(config, kept.job_id)
