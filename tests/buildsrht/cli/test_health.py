"""`buildsrht health`, as an operator or a timer runs it."""

import json

import pytest

from buildsrht.queue import Slots
from buildsrht.services import duties, runners


@pytest.fixture
def ask(on_server, backend, monkeypatch):
    """With one free slot."""
    monkeypatch.setattr(type(backend.queue), "slots", lambda _: Slots(1, 0, 0))
    return lambda *arguments: on_server("health", *arguments)


def test_a_service_that_is_well_ends_with_0(ask, backend):
    runners.report(backend, "host-1", {})
    duties.hold(backend, duties.JANITOR, "somebody")
    done = ask()
    assert (done.status, done.out) == (0, "ok\n")


def test_a_degraded_one_ends_with_1_and_says_why(ask, backend):
    runners.report(backend, "host-1", {})
    done = ask()
    assert done.status == 1
    assert done.out.splitlines() == [
        "degraded",
        "degraded NO_JANITOR: No janitor is there to see to what was lost.",
    ]


def test_one_that_is_failing_ends_with_2_and_tells_programs_the_same(ask):
    done = ask("--json")
    assert done.status == 2
    told = json.loads(done.out)
    assert told["status"] == "failing"
    assert [reason["code"] for reason in told["reasons"]] == ["NO_HOST", "NO_JANITOR"]
