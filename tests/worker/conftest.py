"""A guest of each kind: a fake one per test, a real one shared by the tests that boot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsrht import config as settings
from buildsrht.config import Config
from tests.worker.fakes import fake_machine
from worker import network, templates, vm
from worker.guest import Guest
from worker.machines import find_platform
from worker.platforms import Platform

IMAGE = "debian/trixie"
# In a guest.
FIRST_MIRROR = "awk '/^deb /{print $2; exit}' /etc/apt/sources.list"
BOOT_SECONDS = 240


@pytest.fixture(scope="session")
def host_config(tmp_path_factory) -> Config:
    """This checkout's own configuration: its images, its accelerator; work in a temporary place."""
    loaded = settings.load()
    work = tmp_path_factory.mktemp("work")
    return replace_in(loaded, "worker", path=work)


def replace_in(config: Config, section: str, **changes) -> Config:
    from dataclasses import replace

    return replace(config, **{section: replace(getattr(config, section), **changes)})


@pytest.fixture(scope="session")
def platform(host_config) -> Platform:
    """The image that most tests use, on this host."""
    return find_platform(host_config, IMAGE, "amd64")


@pytest.fixture(scope="session")
def boot_real(host_config, tmp_path_factory):
    """A real machine, as jobs get one: `with boot_real("debian/trixie") as machine`."""

    def start(name: str = IMAGE, arch: str = "amd64", directory: Path | None = None, **options):
        wanted = find_platform(host_config, name, arch)
        template = templates.require(wanted, print)
        assert template, "there is no template"
        place = directory or tmp_path_factory.mktemp("machine") / "vm"
        around = vm.Surroundings(place, **options)
        return vm.clone(template, wanted.image, wanted.hardware, around)

    return start


@pytest.fixture(scope="session")
def real_machine(boot_real) -> Iterator[vm.Vm]:
    """One real machine for every test that only looks; one that breaks it boots its own."""
    with boot_real() as machine:
        yield machine


@pytest.fixture
def fake_guest(tmp_path: Path) -> Iterator[Guest]:
    with fake_machine(tmp_path / "fake") as machine:
        yield machine.guest


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.vm)])
def guest(request) -> Guest:
    """A guest of each kind, for tests of what both must do alike."""
    if request.param == "fake":
        return request.getfixturevalue("fake_guest")
    return request.getfixturevalue("real_machine").guest


def own_addresses():
    addresses = [str(a) for a in network.host_addresses() if not a.is_loopback]
    assert addresses, "these tests need a host with an address besides loopback"
    return addresses
