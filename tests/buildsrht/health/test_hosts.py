"""What is known of a build host, and whether it is well with that."""

from datetime import UTC, datetime

import pytest

from buildsrht.health.hosts import TOLERATED, judge
from buildsrht.models import RunnerState
from buildsrht.services.runners import Host

WELL = {
    "slots": {"all": 4, "busy": 1, "paused": 0},
    "disk": {"free": 9, "reserve": 4},
    "memory": {"available": 9, "reserve": 4},
    "images": [{"name": "debian/trixie", "arch": "amd64"}],
}


def host(state=RunnerState.ACTIVE, *, is_silent=False, **facts):
    return Host("host-1", state, datetime.now(UTC), is_silent, {**WELL, **facts})


def test_who_misses_nothing_is_ok():
    assert judge(host(), faults=TOLERATED) == ("ok", ())


@pytest.mark.parametrize(
    ("found", "verdict", "code"),
    [
        (host(is_silent=True), "failing", "SILENT"),
        (host(images=[]), "failing", "NO_IMAGE"),
        (host(slots={"all": 0, "busy": 0, "paused": 0}), "failing", "NO_WORKER"),
        (host(disk={"free": 3, "reserve": 4}), "failing", "DISK_SHORT"),
        (host(memory={"available": 3, "reserve": 4}), "failing", "MEMORY_SHORT"),
        (host(RunnerState.DRAINING), "degraded", "DRAINING"),
    ],
)
def test_a_host_that_takes_no_jobs_says_why(found, verdict, code):
    health = judge(found, faults=0)
    assert (health.verdict, [reason.code for reason in health.reasons]) == (verdict, [code])


def test_a_host_on_which_jobs_fail_by_the_services_fault_is_degraded():
    health = judge(host(), faults=TOLERATED + 1)
    assert (health.verdict, health.reasons[0].code) == ("degraded", "FAULTS")


def test_a_host_that_is_retired_is_not_missed():
    assert judge(host(RunnerState.RETIRED, is_silent=True), faults=9) == ("ok", ())


def test_of_an_older_host_that_does_not_say_all_of_it_the_rest_is_judged():
    found = host(memory=None, slots=None, disk=None)
    assert judge(found, faults=0).verdict == "ok"
