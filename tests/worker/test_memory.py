"""What the kernel says of a host's memory decides how many jobs it runs, and whether one more."""

from dataclasses import replace

import pytest

from tests.worker.conftest import replace_in
from worker import memory

GIB = 2**30


@pytest.fixture
def meminfo(tmp_path):
    def write(total, available):
        path = tmp_path / "meminfo"
        path.write_text(
            f"MemTotal: {total // 1024} kB\nMemFree: 7 kB\nMemAvailable: {available // 1024} kB\n"
        )
        return path

    return write


def test_with_less_than_the_reserve_available_no_job_is_started(host_config, meminfo):
    config = replace_in(host_config, "worker", memory_reserve=GIB)
    assert memory.shortage(config, meminfo(8 * GIB, GIB)) is None
    assert memory.shortage(config, meminfo(8 * GIB, GIB // 2)) == (
        "512.0 MiB of memory available, below [worker] memory_reserve of 1.0 GiB; "
        "no job is started here until there is more"
    )


@pytest.mark.parametrize(
    ("total", "processors", "cpus", "slots"),
    [(64, 4, 2, 4), (8, 64, 2, 3), (64, 16, 1, 24), (1, 1, 4, 1)],
)
def test_as_many_jobs_run_as_memory_and_processors_allow(
    host_config, meminfo, monkeypatch, total, processors, cpus, slots
):
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda _: range(processors))
    config = replace_in(host_config, "worker", memory=2 * GIB, cpus=cpus)
    assert memory.slots(config, meminfo(total * GIB, GIB)) == slots


def test_this_host_has_room_for_a_job(host_config):
    assert memory.slots(replace(host_config)) >= 1


def test_a_kernel_that_says_nothing_of_it_is_an_error(host_config, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 7 kB\n")
    with pytest.raises(OSError, match="has no MemAvailable"):
        memory.shortage(host_config, tmp_path / "meminfo")
