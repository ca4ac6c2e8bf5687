"""What a host offers to run, and when it takes nothing."""

import pytest

from buildsrht.models import RunnerState
from tests.worker.conftest import replace_in
from worker import disk_space, images, intake, memory


@pytest.fixture
def config(host_config):
    return replace_in(host_config, "worker", name="host-1", images=(), labels=("gpu",))


def test_it_offers_the_images_that_are_built_here(backend, config, monkeypatch):
    built = {("debian/bookworm", "amd64")}
    monkeypatch.setattr(images, "find_built", lambda _, name, arch: (name, arch) in built)
    offer = intake.offer(config, backend.catalogue)
    assert (offer.runner, offer.platforms, offer.labels) == ("host-1", built, {"gpu"})


def test_or_those_that_its_operator_names(backend, config):
    config = replace_in(config, "worker", images=("debian/trixie",))
    assert ("debian/trixie", "amd64") in intake.offer(config, backend.catalogue).platforms
    assert {name for name, _ in intake.offer(config, backend.catalogue).platforms} == {
        "debian/trixie"
    }


@pytest.fixture
def roomy(monkeypatch):
    for part in (disk_space, memory):
        monkeypatch.setattr(part, "shortage", lambda _: None)


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("state", [RunnerState.DRAINING, RunnerState.RETIRED])
def test_what_the_operator_decided_is_obeyed_until_it_is_decided_otherwise(config, state):
    intake.obey(config, state)
    intake.obey(config, state)
    assert "host-1 is being drained or was retired" in intake.refusal(config)
    intake.obey(config, RunnerState.ACTIVE)
    intake.obey(config, RunnerState.ACTIVE)
    assert intake.refusal(config) is None


@pytest.mark.usefixtures("roomy")
@pytest.mark.parametrize("part", [disk_space, memory])
def test_a_host_that_is_short_of_room_takes_nothing(config, part, monkeypatch):
    monkeypatch.setattr(part, "shortage", lambda _: "too little")
    assert intake.refusal(config) == "too little"
