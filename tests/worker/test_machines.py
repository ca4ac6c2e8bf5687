"""Whatever is wrong with what was saved, a job gets its machine, and the next one a clone again.

Where a template has to be made anew, a copy of a good one stands in for booting the image; what
really happens then is for tests/worker/test_templates.py to say.
"""

import json
import os
import shutil
from contextlib import contextmanager

import pytest

from tests.worker.conftest import replace_in
from tests.worker.saved import (
    IMAGE,
    Said,
    copy_snapshot,
    overwrite,
    overwrite_secretly,
    pretend,
    small_disk,
    wanted,
)
from worker import machines, snapshots, templates, vm
from worker.errors import GuestLost, MachineKilled, RunnerError, SnapshotBroken
from worker.snapshots import LAYERS, TEMPLATES

MIB = 2**20


@pytest.fixture
def damaged(platform, host_config, tmp_path, monkeypatch):
    """A copy of this host's template, for a test to damage; and a way to heal it in a moment."""
    good = templates.require(platform, print)
    home = tmp_path / "snapshots" / TEMPLATES

    def build_at_no_cost(platform, guard):
        return copy_snapshot(good, home)

    monkeypatch.setattr(templates, "build", build_at_no_cost)
    return copy_snapshot(good, home)


@pytest.fixture
def start(host_config, tmp_path):
    numbers = iter(range(1000))

    @contextmanager
    def start(path=tmp_path / "snapshots", config=host_config):
        said = Said()
        own = replace_in(config, "snapshots", path=path)
        with machines.start(wanted(own, tmp_path / f"run-{next(numbers)}", said)) as machine:
            yield machine, said

    return start


def assert_works(machine):
    said = []
    assert machine.guest.run(["bash", "-c", "sudo id -un"], said.append) == 0
    assert b"".join(said) == b"root\n"


def never(*_, **options):
    raise AssertionError("the image was booted")


@pytest.mark.vm
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state", overwrite),
        ("state", lambda path: os.truncate(path, 1000)),
        ("memory", lambda path: os.truncate(path, MIB)),
        ("memory", lambda path: overwrite(path, at=64 * MIB)),
        ("memory", os.unlink),
        ("disk-1.qcow2", os.unlink),
        ("empty.qcow2", os.unlink),
        (snapshots.MADE, lambda path: path.write_text("unreadable")),
    ],
    ids=[
        "state overwritten",
        "state truncated",
        "memory truncated",
        "memory overwritten",
        "memory missing",
        "disk missing",
        "empty disk missing",
        "description unreadable",
    ],
)
def test_a_template_that_is_seen_to_be_damaged_is_made_anew_before_the_job(
    damaged, start, monkeypatch, name, damage
):
    monkeypatch.setattr(vm, "boot", never)
    damage(damaged.directory / name)
    with start() as (machine, said):
        assert_works(machine)
    assert len(said.about(damaged.key)) == 1
    with start() as (machine, said):
        assert_works(machine)
    assert said.lines == []


@pytest.mark.vm
def test_a_template_whose_damage_shows_only_when_qemu_continues_it_costs_one_cold_boot(
    damaged, start, monkeypatch
):
    overwrite_secretly(damaged.state)
    with start() as (machine, said):
        assert_works(machine)
    [line] = said.lines
    assert line.startswith(f"snapshot {damaged.key}: ")
    assert line.endswith(". The next job makes it anew.")
    monkeypatch.setattr(vm, "boot", never)
    for expected in (1, 0):
        with start() as (machine, said):
            assert_works(machine)
        assert len(said.about("Booting")) == expected


@pytest.mark.vm
def test_a_machine_that_is_killed_while_it_wakes_is_known_to_be_killed(start, monkeypatch):
    def kill_it(machine, _):
        machine.kill()
        raise GuestLost

    with start():
        pass
    with monkeypatch.context() as killing:
        killing.setattr(vm, "_wake", kill_it)
        with pytest.raises(MachineKilled, match="was killed while it continued"), start():
            pass
    monkeypatch.setattr(vm, "boot", never)
    with start() as (machine, said):
        assert_works(machine)
    assert said.lines == []


@pytest.mark.vm
def test_a_disk_that_is_full_keeps_a_template_from_being_made_and_no_job_from_running(
    start, host_config, tmp_path
):
    """Its memory does not fit: the kernel kills QEMU where it writes to what cannot be kept."""
    small = replace_in(host_config, "worker", memory=512 * MIB, cpus=2, boot_timeout=240)
    path = tmp_path / "full"
    with small_disk(path, "24m"):
        with start(path, small) as (machine, said):
            assert_works(machine)
        assert len(said.about("No snapshot of")) == 1
        assert {each.suffix for each in (path / TEMPLATES).iterdir()} <= {".lock", ".failed"}


# --- pretended machines ---------------------------------------------------------------------------


def test_a_template_that_was_dropped_meanwhile_is_no_reason_to_fail(monkeypatch, tmp_path):
    config = pretend(monkeypatch, tmp_path)
    require = templates.require

    def require_and_lose(*arguments):
        template = require(*arguments)
        shutil.rmtree(template.directory)
        return template

    clone = vm.clone

    @contextmanager
    def clone_what_is_there(snapshot, *arguments, **options):
        if not snapshot.directory.exists():
            raise SnapshotBroken(f"snapshot {snapshot.key}: it is gone")
        with clone(snapshot, *arguments, **options) as machine:
            yield machine

    said = Said()
    monkeypatch.setattr(templates, "require", require_and_lose)
    monkeypatch.setattr(vm, "clone", clone_what_is_there)
    with machines.start(wanted(config, tmp_path / "run", said)) as machine:
        assert machine.guest.run(["true"], print) == 0
    assert len(said.about("it is gone")) == 1


def test_a_machine_that_is_killed_while_it_continues_says_nothing_of_its_snapshot(
    monkeypatch, tmp_path
):
    config = pretend(monkeypatch, tmp_path)
    template = templates.require(machines.find_platform(config, IMAGE, "amd64"), print)

    @contextmanager
    def clone_that_was_killed(*_, **options):
        raise MachineKilled("QEMU was killed")
        yield

    monkeypatch.setattr(vm, "clone", clone_that_was_killed)
    with pytest.raises(MachineKilled), machines.start(wanted(config, tmp_path / "run")):
        pass
    assert template.is_intact()


@pytest.mark.parametrize("described", [{}, {"seconds": "many"}])
def test_a_layer_that_is_described_badly_is_no_reason_to_fail(monkeypatch, tmp_path, described):
    config = pretend(monkeypatch, tmp_path)
    manifest = {"packages": ["hello"]}
    with machines.start(wanted(config, tmp_path / "first", **manifest)):
        pass
    [layer] = snapshots.all_in(config.snapshots.path / LAYERS)
    made = {name: layer.made[name] for name in ("id", "at", "seal")}
    (layer.directory / "made.json").write_text(json.dumps({**made, **described}))
    said = Said()
    with machines.start(wanted(config, tmp_path / "second", said, **manifest)) as machine:
        assert not machine.has_packages
    assert len(said.about("No machine from a snapshot")) == 1


def test_a_place_where_no_snapshot_can_be_is_no_reason_to_fail(monkeypatch, tmp_path):
    config = pretend(monkeypatch, tmp_path)
    (tmp_path / "file").touch()
    config = replace_in(config, "snapshots", path=tmp_path / "file" / "snapshots")
    said = Said()
    with machines.start(wanted(config, tmp_path / "run", said)) as machine:
        assert machine.guest.run(["true"], print) == 0
    assert len(said.about("No machine from a snapshot")) == 1


def test_where_snapshots_are_switched_off_every_machine_is_booted(monkeypatch, tmp_path):
    config = replace_in(pretend(monkeypatch, tmp_path), "snapshots", enabled=False)
    monkeypatch.setattr(vm, "clone", never)
    with machines.start(wanted(config, tmp_path / "run", packages=["gcc"])) as machine:
        assert not machine.has_packages
    assert not config.snapshots.path.exists()


def test_a_use_of_what_a_machine_continues_is_noted(monkeypatch, tmp_path):
    config = pretend(monkeypatch, tmp_path)
    template = templates.require(machines.find_platform(config, IMAGE, "amd64"), print)
    os.utime(template.directory / snapshots.USED, (0, 0))
    with machines.start(wanted(config, tmp_path / "run")):
        assert template.last_used > 0


def test_a_job_that_is_stopped_while_its_machine_starts_gets_none(monkeypatch, tmp_path):
    """It is not given another, and what it would have continued is not taken for broken."""
    config = pretend(monkeypatch, tmp_path)
    template = templates.require(machines.find_platform(config, IMAGE, "amd64"), print)

    @contextmanager
    def stopping(kill):
        kill()
        yield

    @contextmanager
    def clone_that_was_killed(*_, **options):
        raise SnapshotBroken("it was killed")
        yield

    monkeypatch.setattr(vm, "clone", clone_that_was_killed)
    with (
        pytest.raises(RunnerError),
        machines.start(wanted(config, tmp_path / "run", guard=stopping)),
    ):
        pass
    assert template.is_intact()
