"""Real machines: what was going on in one goes on, a day, a visit or a crash later."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht import processes
from buildsrht.models import JobStatus
from buildsrht.services import kept as service
from tests.worker.conftest import FIRST_MIRROR, IMAGE
from tests.worker.fakes import perform
from tests.worker.kept.visitor import Visitor, said, wait_until
from tests.worker.outcome import assert_nothing_is_left, outcome_of
from tests.worker.saved import copy_snapshot
from worker import janitor, machines, spares, templates
from worker.directories import OWNER
from worker.janitor import pids_naming
from worker.kept import frozen
from worker.kept.visits import open_machine
from worker.snapshots import TEMPLATES

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

TERMINAL = {"term": "xterm", "columns": 100, "rows": 30}
MARK = "mark-of-" + os.urandom(12).hex()
SCRIPT = f"""
sudo mount -t tmpfs tmpfs /mnt
echo {MARK} | sudo tee /mnt/in-memory >on-disk
sync on-disk
(trap '' HUP; while :; do echo tick >>ticks; sleep 0.2; done) >/dev/null 2>&1 </dev/null &
until test -s ticks; do sleep 0.1; done
exit 3
"""
TICKS = "wc -l <ticks"
STOCK = """
import os
from dataclasses import replace
from buildsrht import config
from worker.stock import keep_stock

loaded = config.load(os.environ)
keep_stock(replace(loaded, snapshots=replace(loaded.snapshots, spares=1)))
"""


@pytest.fixture
def own_copies(platform, tmp_path):
    """A configuration with an image and a template that nobody else uses."""
    template = templates.require(platform, print)
    home = tmp_path / "images" / IMAGE / "amd64"
    home.mkdir(parents=True)
    copy = ["cp", "--archive", "--sparse=always", str(platform.image.directory), str(home)]
    subprocess.run(copy, check=True)
    (home / "current").symlink_to(platform.image.directory.name)
    copy_snapshot(template, tmp_path / "snapshots" / TEMPLATES)
    config = platform.config
    return replace(
        config,
        images=replace(config.images, path=tmp_path / "images"),
        snapshots=replace(config.snapshots, path=tmp_path / "snapshots"),
    )


def files_with(text: bytes, *places: Path) -> list[Path]:
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return [path for path in files if subprocess.run(["grep", "-qaF", text, path]).returncode == 0]


def is_frozen(kept):
    return not kept.is_owned


def test_it_goes_on_where_it_stood_still_and_between_nothing_of_it_runs_or_can_be_read(
    host, own_copies, make_kept_job, tmp_path
):
    backend = host(own_copies, linger="2s")
    config = backend.config
    job = make_kept_job(SCRIPT)
    perform(backend, job.id, machines.start)
    kept = frozen.find(config, job.id)

    # Frozen.
    assert outcome_of(backend, job.id).status == JobStatus.FAILED
    assert outcome_of(backend, job.id).setup_log.endswith(f"connect {job.id}\n")
    assert_nothing_is_left(backend)
    assert pids_naming(f"{tmp_path}/") == []
    assert files_with(MARK.encode(), config.ssh.path, config.worker.path) == []
    # A refreshed image, and pruned snapshots.
    shutil.rmtree(config.images.path)
    shutil.rmtree(config.snapshots.path)

    # The first visit.
    path = open_machine(config, job.id)
    found = said(path, f"cat on-disk /mnt/in-memory; {TICKS}; date +%s; echo 1 >visited")
    on_disk, in_memory, ticks, clock = found.decode().splitlines()
    assert (on_disk, in_memory) == (MARK, MARK)
    assert abs(int(clock) - time.time()) < 10
    said(path, f"until test $({TICKS}) -gt {ticks}; do sleep 0.1; done")
    # Its network is as it was: the Internet, and nothing of this host's site.
    fetch = f"curl -sSf -o /dev/null -w '%{{http_code}}' $({FIRST_MIRROR})/"
    assert said(path, fetch) == b"200"
    assert b"refused" in said(path, "bash -c 'cat </dev/tcp/10.1.2.3/80' 2>&1 || true")

    # Nobody is there: it is frozen again, and what was done remains.
    wait_until(lambda: is_frozen(kept))
    assert pids_naming(f"{tmp_path}/") == []
    assert files_with(MARK.encode(), config.ssh.path, config.worker.path) == []
    path = open_machine(config, job.id)
    assert said(path, "cat visited; echo 2 >visited; sync") == b"1\n"

    # The process in which it runs is killed: what was done since is lost, and nothing else.
    keeper = int((kept.directory / OWNER).read_text().split()[0])
    machine = pids_naming(f"{config.worker.path}/")
    os.kill(keeper, signal.SIGKILL)
    assert all(processes.has_ended(pid, wait_seconds=10) for pid in [keeper, *machine])
    janitor.sweep_host(backend)
    assert_nothing_is_left(backend)
    path = open_machine(config, job.id)
    assert said(path, "cat visited /mnt/in-memory") == f"1\n{MARK}\n".encode()

    # Its owner leaves it.
    with Visitor(path, terminal=TERMINAL) as visitor:
        visitor.wait_for(b"$ ")
        visitor.type(b"stty size; exit\n")
        assert visitor.end() == {"status": 0}
    assert b"30 100\r\n" in visitor.out
    wait_until(lambda: not kept.directory.exists())
    assert service.find_machine(backend, job.id).reason == "its owner left it"
    wait_until(lambda: pids_naming(f"{tmp_path}/") == [])
    assert_nothing_is_left(backend)


@contextmanager
def a_spare(config):
    process = processes.start([sys.executable, "-P", "-c", STOCK])
    try:
        wait_until(lambda: list(config.worker.path.glob(f"spare-*/{spares.SOCKET}")))
        yield
    finally:
        processes.stop(process, signal.SIGTERM, 30)


def test_a_spare_that_a_job_got_is_kept_too_and_one_that_is_shut_down_inside_is_gone(
    host, own_copies, make_kept_job
):
    backend = host(own_copies, linger="60s")
    config = backend.config
    job = make_kept_job("echo $((6 * 7)) >file; test -e /no/such/file")
    with a_spare(config):
        lent = []

        @contextmanager
        def start(wanted):
            with machines.start(wanted) as machine:
                lent.append(type(machine.vm))
                yield machine

        perform(backend, job.id, start)
        assert lent == [spares.Borrowed]
    path = open_machine(config, job.id)
    assert said(path, "cat file") == b"42\n"
    with Visitor(path, "sudo systemctl poweroff; sleep 60") as visitor:
        assert "error" in visitor.end()
    wait_until(lambda: not frozen.find(config, job.id))
    assert service.find_machine(backend, job.id).reason == "it was shut down from inside"
