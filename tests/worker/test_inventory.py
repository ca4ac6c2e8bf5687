"""What a build host says of itself."""

import json
import os
import socket
from dataclasses import replace

import pytest
from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from buildsrht.queue import NAME, job_queue
from tests.worker.conftest import replace_in
from tests.worker.saved import small_snapshot
from worker import accelerator, inventory, snapshots
from worker.snapshots import LAYERS, TEMPLATES

MOMENT = 1_790_000_000


@pytest.fixture
def host(backend, tmp_path):
    """A backend of a host that has nothing."""
    config = replace_in(backend.config, "images", path=tmp_path / "images")
    config = replace_in(config, "snapshots", path=tmp_path / "snapshots")
    config = replace_in(config, "worker", accelerator="tcg", disk_reserve=1000)
    return replace(backend, config=config)


@pytest.fixture
def save(host):
    """A snapshot that was last used so many seconds after the moment."""

    def save(kind, key, used, **made):
        made = {"image": "debian/trixie", "arch": "amd64", "at": MOMENT, **made}
        snapshot = small_snapshot(host.config.snapshots.path / kind, key, **made)
        os.utime(snapshot.directory / snapshots.USED, (MOMENT + used, MOMENT + used))
        return snapshot

    return save


def begin_slot(host, name, hostname, state):
    worker = Worker([NAME], name=name, connection=host.redis, serializer=JSONSerializer)
    worker.hostname = hostname
    worker.register_birth()
    worker.set_state(state)


def test_a_host_that_has_nothing_says_so_in_json(host):
    said = inventory.take(host)

    assert json.loads(json.dumps(said)) == said
    assert said["disk"].pop("free") > 0
    assert said["memory"].pop("available") > 0
    assert said == {
        "slots": {"all": 0, "busy": 0, "paused": 0},
        "disk": {"reserve": 1000},
        "memory": {"reserve": 536870912},
        "accelerator": "tcg",
        "images": [],
        "labels": [],
        "templates": [],
        "layers": [],
        "spares": 0,
        "kept": 0,
    }


def test_images_are_those_that_jobs_start_from(host):
    home = host.config.images.path / "debian/trixie/amd64"
    for version in ("older-1", "newer-2"):
        (home / version).mkdir(parents=True)
        os.utime(home / version, (MOMENT, MOMENT))
    (home / "current").symlink_to("newer-2")

    assert inventory.take(host)["images"] == [
        {"name": "debian/trixie", "arch": "amd64", "version": "newer-2", "built": MOMENT}
    ]


def test_saved_machines_are_told_by_their_last_use(host, save):
    save(TEMPLATES, "template", used=5)
    save(LAYERS, "old", used=1, packages=["gcc", "make"])
    new = save(LAYERS, "new", used=9, packages=[f"package-{number}" for number in range(9)])

    said = inventory.take(host)

    assert [each["key"] for each in said["templates"]] == ["template"]
    [first, second] = said["layers"]
    assert first == {
        "key": "new",
        "image": "debian/trixie",
        "arch": "amd64",
        "size": new.size(),
        "made": MOMENT,
        "used": MOMENT + 9,
        "packages": "package-0 package-1 package-2 package-3 package-4 package-5 and 3 more",
    }
    assert (second["key"], second["packages"]) == ("old", "gcc make")


def test_what_is_only_being_made_is_not_told(host):
    home = host.config.snapshots.path / TEMPLATES
    with snapshots.building(home, "key"):
        assert inventory.take(host)["templates"] == []


def test_a_spare_counts_while_it_stands_ready(host):
    for name in ("spare-1-7", "spare-2-8", "7-1"):
        (host.config.worker.path / name).mkdir(parents=True)
    (host.config.worker.path / "spare-1-7/socket").touch()

    assert inventory.take(host)["spares"] == 1


def test_kept_machines_are_counted(host):
    for name in ("7", "8", "making-9"):
        (host.config.ssh.path / name).mkdir(parents=True)

    assert inventory.take(host)["kept"] == 2


def test_slots_are_those_of_this_host_only(host):
    begin_slot(host, "one", socket.gethostname(), WorkerStatus.BUSY)
    begin_slot(host, "two", socket.gethostname(), WorkerStatus.IDLE)
    begin_slot(host, "three", "elsewhere", WorkerStatus.BUSY)

    assert inventory.take(host)["slots"] == {"all": 2, "busy": 1, "paused": 0}
    assert host.queue.slots().all == 3


def test_a_queue_that_is_away_keeps_nothing_else_from_being_told(host):
    away = replace(host, queue=job_queue(Redis(port=1), job_timeout=60))

    said = inventory.take(away)

    assert (said["slots"], said["accelerator"]) == (None, "tcg")


@pytest.mark.parametrize(
    ("remembered", "known"), [('{"accelerator": "kvm"}', "kvm"), ("spoilt", None)]
)
def test_an_accelerator_is_known_by_its_last_trial(host, monkeypatch, remembered, known):
    config = replace_in(host.config, "worker", accelerator="auto")
    monkeypatch.setattr(accelerator.os, "access", lambda *_: True)
    config.images.path.mkdir()
    (config.images.path / accelerator.REMEMBERED).write_text(remembered)

    assert accelerator.known(config) == known


def test_without_the_device_guests_are_emulated(host, monkeypatch):
    config = replace_in(host.config, "worker", accelerator="auto")
    monkeypatch.setattr(accelerator.os, "access", lambda *_: False)

    assert accelerator.known(config) == "tcg"
