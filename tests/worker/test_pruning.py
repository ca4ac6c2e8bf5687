"""Which snapshots go, and which stay."""

import os
import time
from dataclasses import replace

import pytest

from buildsrht import config as settings
from tests.worker.conftest import replace_in
from tests.worker.saved import copy_snapshot, overwrite, small_snapshot
from worker import janitor, pruning, snapshots, templates, vm
from worker.snapshots import LAYERS, TEMPLATES
from worker.vm import Surroundings

HOUR = 3600
KIB = 1024


@pytest.fixture
def config(tmp_path):
    """A host that has room for everything."""
    loaded = settings.load({"VAR": str(tmp_path)})
    loaded = replace_in(loaded, "snapshots", size=2**40, layer_lifetime=24 * HOUR)
    return replace_in(loaded, "worker", disk_reserve=1)


@pytest.fixture
def built(config):
    directory = config.images.path / "debian/trixie/amd64/build-1"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def make(config, built):
    """A snapshot of four files of the same size, last used so many hours ago."""

    def make(kind, key, *, used=0, age=0, **made):
        at = time.time() - age * HOUR
        if kind == LAYERS:
            made = {"packages": ["gcc"], **made}
        home = config.snapshots.path / kind
        snapshot = small_snapshot(home, key, **{"built": str(built), "at": at, **made})
        then = time.time() - used * HOUR
        os.utime(snapshot.directory / snapshots.USED, (then, then))
        return snapshot

    return make


def left(config):
    return {each.key for home in snapshots.homes(config) for each in snapshots.all_in(home)}


def test_nothing_goes_when_all_of_it_fits(config, make):
    make(TEMPLATES, "template", age=1000, used=1000)
    make(LAYERS, "layer", age=23, used=23)
    pruning.prune(config)
    assert left(config) == {"template", "layer"}


def test_one_that_was_made_anew_since_it_was_judged_stays(tmp_path):
    judged = small_snapshot(tmp_path, "key")
    small_snapshot(tmp_path, "key")
    snapshots.drop_this(judged)
    assert snapshots.find(tmp_path, "key")


def test_where_there_is_none_there_is_nothing_to_do(config):
    pruning.prune(config)
    assert left(config) == set()


def test_a_layer_goes_when_its_time_is_over_however_much_it_is_used(config, make):
    make(LAYERS, "old", age=25)
    make(LAYERS, "fresh", age=23)
    pruning.prune(config)
    assert left(config) == {"fresh"}


def test_what_was_made_of_an_image_goes_with_it(config, make, built, tmp_path):
    make(TEMPLATES, "template-of-gone", built=str(tmp_path / "gone"))
    make(LAYERS, "layer-of-gone", built=str(tmp_path / "gone"))
    make(TEMPLATES, "template")
    pruning.prune(config)
    assert left(config) == {"template"}


def test_what_does_not_say_of_which_image_it_is_goes(config):
    """As a version before this one made them."""
    small_snapshot(config.snapshots.path / TEMPLATES, "template")
    small_snapshot(config.snapshots.path / LAYERS, "layer")
    pruning.prune(config)
    assert left(config) == set()


def test_what_was_not_used_for_the_longest_time_goes_first_of_whatever_kind(config, make):
    make(TEMPLATES, "middle", used=5)
    make(LAYERS, "oldest", used=9)
    newest = make(LAYERS, "newest", used=1)
    two_fit = replace_in(config, "snapshots", size=2 * newest.size())
    pruning.prune(two_fit)
    assert left(config) == {"middle", "newest"}
    one_fits = replace_in(config, "snapshots", size=2 * newest.size() - 1)
    pruning.prune(one_fits)
    assert left(config) == {"newest"}


def test_a_use_counts_from_the_moment_that_it_is_noted(config, make):
    make(LAYERS, "idle", used=1)
    busy = make(LAYERS, "busy", used=9)
    busy.note_use()
    pruning.prune(replace_in(config, "snapshots", size=busy.size()))
    assert left(config) == {"busy"}


def test_a_disk_that_is_shared_is_counted_once(config, make):
    one, two = make(LAYERS, "one"), make(LAYERS, "two")
    alone = one.size() + two.size()
    (two.directory / "disk-1.qcow2").unlink()
    os.link(one.directory / "disk-1.qcow2", two.directory / "disk-1.qcow2")
    together = one.size() + two.size()
    assert together < alone
    pruning.prune(replace_in(config, "snapshots", size=together))
    assert left(config) == {"one", "two"}
    pruning.prune(replace_in(config, "snapshots", size=together - 1))
    assert len(left(config)) == 1


def test_a_disk_below_its_reserve_frees_as_many_as_it_takes(config, make, monkeypatch):
    for hours in range(4):
        one = make(LAYERS, f"used-{hours}", used=hours)
    monkeypatch.setattr(pruning, "free_bytes", lambda path: 100 * KIB)
    pruning.prune(replace_in(config, "worker", disk_reserve=100 * KIB))
    assert len(left(config)) == 4
    pruning.prune(replace_in(config, "worker", disk_reserve=100 * KIB + one.size() + 1))
    assert left(config) == {"used-0", "used-1"}


def test_one_that_somebody_else_drops_meanwhile_is_none_of_our_business(config, make, monkeypatch):
    make(LAYERS, "stays")
    gone = make(LAYERS, "gone")
    found = snapshots.all_in(config.snapshots.path / LAYERS)
    snapshots.drop(config.snapshots.path / LAYERS, gone.key)
    monkeypatch.setattr(pruning, "_all", lambda config: found)
    pruning.prune(replace_in(config, "snapshots", size=gone.size() + 2**20))
    assert left(config) == {"stays"}


def test_the_janitor_s_sweep_prunes(backend, config, make):
    make(LAYERS, "old", age=25)
    janitor.sweep_host(replace(backend, config=config))
    assert left(config) == set()


def test_the_janitor_clears_away_what_cannot_be_read_and_nobody_will_ask_for(backend, config, make):
    broken = make(LAYERS, "broken")
    overwrite(broken.directory / snapshots.MADE, b"\0" * 100)
    os.utime(broken.directory, (0, 0))
    janitor.sweep_host(replace(backend, config=config))
    assert not broken.directory.exists()


@pytest.mark.vm
def test_a_machine_whose_snapshot_was_dropped_is_not_saved_without_its_disks(platform, tmp_path):
    template = copy_snapshot(templates.require(platform, print), tmp_path / TEMPLATES)
    with (
        snapshots.building(tmp_path / LAYERS, "key") as directory,
        vm.clone(
            template,
            platform.image,
            platform.hardware,
            Surroundings(directory / "vm"),
            to_be_saved=True,
        ) as machine,
    ):
        snapshots.drop_this(template)
        with pytest.raises(FileNotFoundError):
            machine.save(directory)


@pytest.mark.vm
def test_a_machine_runs_on_from_what_was_dropped(config, platform, tmp_path):
    copied = copy_snapshot(templates.require(platform, print), config.snapshots.path / TEMPLATES)
    around = Surroundings(tmp_path / "vm")
    with vm.clone(copied, platform.image, platform.hardware, around) as machine:
        pruning.prune(replace_in(config, "snapshots", size=1))
        assert left(config) == set()
        said = []
        script = (
            "set -e; cat /usr/lib/x86_64-linux-gnu/libc*.so* | md5sum; perl -e 'print \"runs\"'"
        )
        assert machine.guest.run(["bash", "-c", script], said.append) == 0
        assert b"".join(said).endswith(b"runs")
