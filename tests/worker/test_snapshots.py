"""A saved machine on the disk: it appears complete, never changes, and goes at once.

Plain files stand for what QEMU saves; nothing here knows the difference.
"""

import os
import signal
import subprocess
import sys

import pytest

from tests.worker.saved import overwrite, small_snapshot
from worker import snapshots
from worker.errors import SnapshotBroken

KEY = "0123456789abcdef"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "snapshots" / "templates"


# --- it appears -----------------------------------------------------------------------------------


def test_what_is_published_is_found_with_all_that_was_said_of_it(home):
    small_snapshot(home, KEY, of="an image")
    found = snapshots.find(home, KEY)
    assert found.made["of"] == "an image"
    assert found.memory.read_bytes() == b"m" * 4096
    assert found.is_intact()


def test_there_is_none_of_a_key_that_nobody_published(home):
    small_snapshot(home, KEY)
    assert snapshots.find(home, "another") is None
    assert snapshots.find(home.with_name("layers"), KEY) is None


def test_the_same_key_again_takes_the_place_of_what_was_there(home):
    small_snapshot(home, KEY, of="first")
    small_snapshot(home, KEY, of="second")
    assert snapshots.find(home, KEY).made["of"] == "second"
    assert [path.name for path in home.iterdir()] == [KEY]


def test_what_is_being_made_is_not_found_and_goes_when_its_block_ends(home):
    with snapshots.building(home, KEY) as directory:
        (directory / "memory").write_bytes(b"half")
        assert snapshots.find(home, KEY) is None
        assert snapshots.all_in(home) == []
    assert list(home.iterdir()) == []


CRASH_BEFORE_THE_LAST_STEP = """
import os, signal, sys
from pathlib import Path
from worker import snapshots

home, key = Path(sys.argv[1]), sys.argv[2]
with snapshots.building(home, key) as directory:
    (directory / "memory").write_bytes(b"whole")
    os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    snapshots.publish(directory, home, key, {"at": 0})
"""


def test_a_crash_before_the_last_step_of_publishing_leaves_nothing_to_be_found(home):
    command = [sys.executable, "-c", CRASH_BEFORE_THE_LAST_STEP, str(home), KEY]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    assert snapshots.find(home, KEY) is None
    assert snapshots.all_in(home) == []
    [left] = home.iterdir()
    assert (left / snapshots.MADE).exists()
    assert not snapshots.is_finished(left)


def test_nobody_else_on_this_host_can_look_at_saved_memory(home):
    small_snapshot(home, KEY)
    assert home.stat().st_mode & 0o077 == 0


# --- it never changes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memory", "state", "disk-1.qcow2", "empty.qcow2"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: os.truncate(path, 100), "not what was saved"),
        (lambda path: overwrite(path, b"x"), "not what was saved"),
        (os.utime, "not what was saved"),
        (os.unlink, "missing"),
    ],
    ids=["truncated", "overwritten", "touched", "removed"],
)
def test_a_file_that_is_not_as_it_was_sealed_is_noticed_and_named(home, name, damage, said):
    snapshot = small_snapshot(home, KEY)
    damage(snapshot.directory / name)
    with pytest.raises(SnapshotBroken, match=f"{name} of snapshot {KEY} is {said}"):
        snapshots.find(home, KEY)
    assert not snapshot.is_intact()


@pytest.mark.parametrize("text", ["", '{"at": ', "[]", "7", "{}", '{"at": 0, "seal": 7}', b"\xff"])
def test_a_description_that_says_nothing_means_that_the_snapshot_is_broken(home, text):
    snapshot = small_snapshot(home, KEY)
    (snapshot.directory / snapshots.MADE).write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )
    with pytest.raises(SnapshotBroken, match=f"snapshot {KEY} has no description"):
        snapshots.find(home, KEY)
    assert snapshots.all_in(home) == []
    assert not snapshots.is_finished(snapshot.directory), "the janitor clears it away"


def test_a_directory_without_a_description_is_broken_too(home):
    (small_snapshot(home, KEY).directory / snapshots.MADE).unlink()
    with pytest.raises(SnapshotBroken):
        snapshots.find(home, KEY)


def test_that_it_is_used_is_noted_and_changes_nothing_of_it(home):
    snapshot = small_snapshot(home, KEY)
    os.utime(snapshot.directory / snapshots.USED, (0, 0))
    snapshot.note_use()
    assert snapshot.last_used > 0
    assert snapshots.find(home, KEY)


# --- it goes --------------------------------------------------------------------------------------


def test_what_was_dropped_is_not_found_and_whoever_has_it_open_reads_on(home):
    snapshot = small_snapshot(home, KEY)
    with snapshot.memory.open("rb") as memory:
        snapshots.drop(home, KEY)
        assert snapshots.find(home, KEY) is None
        assert list(home.iterdir()) == []
        assert memory.read() == b"m" * 4096


def test_dropping_what_is_gone_and_noting_its_use_are_harmless(home):
    snapshot = small_snapshot(home, KEY)
    for _ in range(2):
        snapshots.drop(home, KEY)
        snapshot.note_use()
    assert (snapshot.last_used, snapshot.size()) == (0, 0)


def test_all_that_can_be_read_are_listed_and_nothing_that_lies_beside(home):
    small_snapshot(home, "one")
    overwrite(small_snapshot(home, "damaged").memory)
    (home / "one.lock").touch()
    (home / f"{snapshots.DROPPED}two-1").mkdir()
    with snapshots.building(home, "three"):
        assert sorted(each.key for each in snapshots.all_in(home)) == ["damaged", "one"]


# --- what it consists of --------------------------------------------------------------------------


def test_its_disks_are_told_lowest_first_however_many_there_are(home):
    with snapshots.building(home, KEY) as directory:
        for number in range(1, 13):
            (directory / f"disk-{number}.qcow2").touch()
        snapshot = snapshots.publish(directory, home, KEY, {"at": 0})
    expected = [f"disk-{number}.qcow2" for number in range(1, 13)]
    assert [disk.name for disk in snapshot.disks] == expected


def test_its_size_is_what_it_takes_up_holes_and_shared_disks_aside(home):
    one, two = small_snapshot(home, "one"), small_snapshot(home, "two")
    with_own_disk = one.size()
    (two.directory / "disk-1.qcow2").unlink()
    os.link(one.directory / "disk-1.qcow2", two.directory / "disk-1.qcow2")
    assert one.size() == with_own_disk - 2048
    os.truncate(one.memory, 2**40)
    assert one.size() < 2**20
    snapshots.drop(home, "two")
    assert one.size() == with_own_disk
