"""The gateway and those who really keep a machine, together: worker/kept/hosting.py, over the real
agent in a fake guest. The fake keeper of the other tests is held to this."""

import asyncio
import socket
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.worker.fakes import fake_machine
from worker.kept.hosting import Fate, Hosting, Terms
from worker.kept.sessions import attending

BINARY = bytes(range(256)) * 8 * 1024
START_SECONDS = 20
FAR_AWAY = Terms(linger=600, longest=600)


class HostedMachine:
    """What the gateway wants of a keeper, and what became of the machine."""

    def __init__(self, path, home):
        self.home = home
        self.fate = Future()
        self._path = path

    def open_machine(self, config, job_id):
        return self._path


@pytest.fixture
def keeper(tmp_path):
    with tempfile.TemporaryDirectory() as place, fake_machine(tmp_path / "fake") as machine:
        hosted = HostedMachine(Path(place) / "socket", machine.home)
        started = Future()
        thread = threading.Thread(target=lambda: asyncio.run(host(machine.guest, hosted, started)))
        thread.start()
        stop = started.result(START_SECONDS)
        yield hosted
        stop()
        thread.join(START_SECONDS)


async def host(guest, hosted, started):
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(hosted.open_machine(None, 0)))
        listener.listen()
        async with attending(guest, time.monotonic() + START_SECONDS) as sessions:
            hosting = Hosting(sessions, FAR_AWAY, lambda: True)
            started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
            running = asyncio.create_task(hosting.run(listener))
            running.add_done_callback(lambda _: hosted.fate.set_result(running.result()))
            await stop.wait()
            hosting.stop()
            await running
            await sessions.quit()


def test_a_command_its_streams_its_bytes_and_its_status(ssh, kept_job):
    done = ssh("connect", str(kept_job.id), "echo err >&2; cat; exit 7", input=BINARY)

    assert (done.returncode, done.stdout == BINARY, done.stderr) == (7, True, b"err\n")


def test_a_shell_with_a_terminal_that_is_resized_and_left(ssh, kept_job, keeper):
    with ssh.screen("connect", str(kept_job.id)) as screen:
        screen.wait_for(b"is kept until")
        # Not bash at its prompt: what signals it while it is busy, it handles after the next line.
        screen.type(b"""exec sh -c 'trap "echo now \\$(stty size); exit 5" WINCH;""")
        screen.type(b"""echo at first $(stty size); while sleep 0.1; do :; done'\n""")
        screen.wait_for(b"at first 24 80\r\n")
        screen.resize(132, 43)
        screen.wait_for(b"now 43 132\r\n")

        assert screen.end() == 5
    assert keeper.fate.result(START_SECONDS) is Fate.LEFT


def test_files_by_sftp(ssh, kept_job, keeper, tmp_path):
    (tmp_path / "in").write_bytes(BINARY)
    there = f"{kept_job.id}@127.0.0.1"

    for source, target in ((tmp_path / "in", f"{there}:kept"), (f"{there}:kept", tmp_path / "out")):
        done = ssh.run(["scp", *ssh.options("-P"), str(source), str(target)])
        assert (done.returncode, done.stderr) == (0, b"")

    assert (keeper.home / "kept").read_bytes() == BINARY
    assert (tmp_path / "out").read_bytes() == BINARY


def test_a_client_that_goes_away_hangs_its_command_up(ssh, kept_job):
    client = ssh.start("connect", str(kept_job.id), "echo $$; exec sleep 600")
    process = client.stdout.readline().strip().decode()

    client.kill()
    client.communicate()

    # The machine goes on, and so may others in it.
    gone = f"while kill -0 {process} 2>/dev/null; do sleep 0.1; done; echo gone"
    assert ssh("connect", str(kept_job.id), gone).stdout == b"gone\n"


def test_a_command_that_a_signal_ends(ssh, kept_job):
    assert ssh("connect", str(kept_job.id), "kill -TERM $$").returncode == 255
    assert ssh("connect", str(kept_job.id), "sh -c 'kill -TERM $$'; echo $?").stdout == b"143\n"
