"""Whether there is room for another job, and what the operator is told if not."""

import shutil

import pytest

from tests.worker.conftest import replace_in
from worker.disk_space import free_bytes, shortage

GIB = 2**30


@pytest.fixture
def disk(monkeypatch):
    """Let every file system have so many bytes free."""

    def set_free(free):
        usage = shutil.disk_usage("/")._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    return set_free


@pytest.fixture
def host(host_config, tmp_path):
    return replace_in(host_config, "worker", path=tmp_path / "work", disk_reserve=4 * GIB)


@pytest.mark.parametrize("free", [4 * GIB, 5 * GIB])
def test_the_reserve_is_enough(host, disk, free):
    disk(free)
    assert shortage(host) is None


@pytest.mark.parametrize(
    ("free", "said"),
    [(4 * GIB - 1, "4.0 GiB"), (1288490189, "1.2 GiB"), (300 * 2**20, "300.0 MiB"), (0, "0.0 KiB")],
)
def test_less_is_told_with_place_value_and_rule(host, disk, free, said):
    disk(free)
    assert shortage(host) == (
        f"{host.worker.path}: {said} free, below [worker] disk_reserve of 4.0 GiB; "
        "no job is started here until there is more"
    )


def test_a_path_that_is_still_to_be_made_has_the_room_of_where_it_will_be(tmp_path):
    before = free_bytes(tmp_path)
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(before, rel=0.1)
