"""Spares: that they are there for whoever comes, unlike each other, and gone with their user."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from buildsrht import config as settings
from buildsrht import processes
from buildsrht.config import destinations
from tests.worker.conftest import replace_in
from tests.worker.saved import copy_snapshot, small_snapshot
from worker import spares, templates, vm
from worker.errors import GuestLost, Loss
from worker.janitor import pids_naming
from worker.snapshots import TEMPLATES
from worker.spares import borrow
from worker.stock import Stock, share_out

READY_SECONDS = 120
STOP_SECONDS = 30

STOCK = """
import sys
from dataclasses import replace
from pathlib import Path
from buildsrht import config
from worker.stock import keep_stock

loaded = config.load()
worker = replace(loaded.worker, path=Path(sys.argv[1]))
snapshots = replace(loaded.snapshots, path=Path(sys.argv[2]), spares=int(sys.argv[3]))
keep_stock(replace(loaded, worker=worker, snapshots=snapshots))
"""
BORROW_AND_DIE = """
import os, signal, sys
from pathlib import Path
from tests.worker.test_stock import borrowed_somewhere

with borrowed_somewhere(Path(sys.argv[1])):
    print("borrowed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


# --- how many of what -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "number", "shares"),
    [
        ([], 2, {}),
        (["a"], 0, {}),
        (["a"], 2, {"a": 2}),
        (["a", "b"], 2, {"a": 1, "b": 1}),
        (["a", "b"], 3, {"a": 2, "b": 1}),
        (["a", "b", "c"], 2, {"a": 1, "b": 1}),
    ],
)
def test_each_of_the_last_used_has_one_and_the_first_of_them_the_rest(ids, number, shares):
    assert share_out(ids, number) == shares


def test_a_layer_that_was_made_anew_does_not_get_the_spares_of_the_old_one(tmp_path):
    config = settings.load({"VAR": str(tmp_path)})
    old, new = (small_snapshot(tmp_path, "key", at=1000) for _ in range(2))
    assert spares.spare_id(config, old) != spares.spare_id(config, new)


def test_a_spare_made_under_other_rules_for_its_network_is_not_lent(tmp_path):
    config = settings.load({"VAR": str(tmp_path)})
    freer = replace_in(config, "network", allow=destinations("10.1.2.3"))
    snapshot = small_snapshot(tmp_path, "key")
    assert spares.spare_id(config, snapshot) != spares.spare_id(freer, snapshot)


def test_a_snapshot_that_does_not_say_where_it_belongs_gets_no_spare(tmp_path):
    config = settings.load({"VAR": str(tmp_path)})
    small_snapshot(config.snapshots.path / TEMPLATES, "key")
    stock = Stock(config)
    stock.look()
    stock.stop()
    assert list(tmp_path.glob("work/*")) == []


# --- with real machines ---------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


@pytest.fixture
def config(host_config, work):
    return replace_in(host_config, "worker", path=work)


@pytest.fixture
def template(platform):
    return templates.require(platform, print)


@pytest.fixture
def stock(work, template, tmp_path):
    """Starts the process that keeps spares, of this template only: `with stock(2)`."""
    snapshots = tmp_path / "snapshots"
    copy_snapshot(template, snapshots / TEMPLATES)

    @contextmanager
    def run(number):
        command = [sys.executable, "-P", "-c", STOCK, str(work), str(snapshots), str(number)]
        process = processes.start(command)
        try:
            yield process
        finally:
            processes.stop(process, signal.SIGTERM, STOP_SECONDS)

    return run


def ready(work):
    return sorted(work.glob("spare-*/socket"))


def wait_until(condition):
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def borrowed_somewhere(work):
    """For a process that has nothing but the path."""
    from worker.machines import find_platform

    config = replace_in(settings.load(), "worker", path=work)
    template = templates.require(find_platform(config, "debian/trixie", "amd64"), print)
    with borrow(config, template, vm.no_guard) as machine:
        assert machine
        yield machine


def host_name(machine):
    said = []
    machine.guest.run(["hostname"], said.append)
    return b"".join(said)


@pytest.mark.vm
def test_a_spare_is_borrowed_used_and_replaced_and_two_are_never_the_same(
    config, template, work, stock
):
    with stock(2):
        wait_until(lambda: len(ready(work)) == 2)
        with (
            borrow(config, template, vm.no_guard) as one,
            borrow(config, template, vm.no_guard) as other,
        ):
            assert one
            assert other
            assert host_name(one) != host_name(other)
            with borrow(config, template, vm.no_guard) as third:
                assert third is None
        wait_until(lambda: len(ready(work)) == 2)
    assert list(work.iterdir()) == []
    assert pids_naming(f"{work}/") == []


@pytest.mark.vm
def test_when_the_block_ends_nothing_of_the_machine_is_left(config, template, work, stock):
    with stock(1):
        wait_until(lambda: ready(work))
        [directory] = work.glob("spare-*")
        with borrow(config, template, vm.no_guard) as machine:
            assert machine
        assert not directory.exists()
        assert pids_naming(f"{directory}/") == []


@pytest.mark.vm
def test_killing_it_wakes_whoever_waits_for_its_answer(config, template, work, stock):
    kills = []

    @contextmanager
    def guard(kill):
        kills.append(kill)
        yield

    with stock(1):
        wait_until(lambda: ready(work))
        with borrow(config, template, guard) as machine, pytest.raises(GuestLost):
            machine.guest.run(["sh", "-c", "echo; sleep 60"], lambda _: kills[0]())


@pytest.mark.vm
def test_why_it_was_lost_can_be_asked(config, template, work, stock):
    with stock(1):
        wait_until(lambda: ready(work))
        with borrow(config, template, vm.no_guard) as machine:
            with pytest.raises(GuestLost):
                machine.guest.run(["sudo", "poweroff", "--force", "--force"], lambda _: None)
            assert machine.explain_loss() == Loss("it powered itself off", was_killed=False)


@pytest.mark.vm
def test_a_run_that_is_killed_takes_its_spare_with_it(work, stock):
    with stock(1):
        wait_until(lambda: ready(work))
        [directory] = work.glob("spare-*")
        pids = pids_naming(f"{directory}/")
        command = [sys.executable, "-c", BORROW_AND_DIE, str(work)]
        run = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=READY_SECONDS)
        assert (run.stdout, run.returncode) == (b"borrowed\n", -signal.SIGKILL)
        assert pids
        assert all(processes.has_ended(pid, wait_seconds=10) for pid in pids)
        wait_until(lambda: not directory.exists())


@pytest.mark.vm
def test_a_keeper_that_was_killed_lends_nothing_and_takes_its_machine_with_it(
    config, template, work, stock
):
    with stock(1):
        wait_until(lambda: ready(work))
        [directory] = work.glob("spare-*")
        pids = pids_naming(f"{directory}/")
        os.kill(int(directory.name.rpartition("-")[2]), signal.SIGKILL)
        assert all(processes.has_ended(pid, wait_seconds=10) for pid in pids)
        with borrow(config, template, vm.no_guard) as machine:
            assert machine is None
    assert pids_naming(f"{work}/") == []
