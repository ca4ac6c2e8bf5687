"""The commands about build hosts."""

import json

import pytest

from buildsrht.services import runners
from tests.build_host import claim


@pytest.fixture
def on_server(on_server):
    return lambda *arguments: on_server("runner", *arguments)


def listed(on_server):
    return [line.split("\t")[:4] for line in on_server("list").out.splitlines()]


def test_a_host_is_enrolled_drained_resumed_and_retired(on_server):
    assert on_server("enrol", "host-1", "--draining").status == 0
    assert listed(on_server) == [["host-1", "draining", "failing", "SILENT"]]
    assert on_server("resume", "host-1").status == 0
    assert listed(on_server) == [["host-1", "active", "failing", "SILENT"]]
    assert on_server("retire", "host-1").status == 0
    assert listed(on_server) == [["host-1", "retired", "ok", "-"]]
    assert on_server("prune").out == "host-1\n"
    assert listed(on_server) == []


def test_programs_get_all_that_a_host_says(on_server, backend):
    runners.report(backend, "host-1", {"images": [], "labels": ["gpu"]})
    told = json.loads(on_server("list", "--json").out)
    told.pop("seen")
    assert told == {
        "name": "host-1",
        "state": "active",
        "health": "failing",
        "reasons": ["NO_IMAGE"],
        "facts": {"images": [], "labels": ["gpu"]},
    }


def test_to_drain_waits_for_what_runs_there_if_it_is_asked_to(on_server, backend, make_job):
    runners.report(backend, "host-1", {})
    assert on_server("drain", "host-1", "--wait", "1").status == 0
    on_server("resume", "host-1")
    claim(backend, make_job("queued").id, "host-1")
    done = on_server("drain", "host-1", "--wait", "1")
    assert (done.status, done.err) == (1, "buildsrht: 1 jobs still run on host-1\n")


def test_what_is_refused_is_said(on_server, backend, make_job):
    runners.report(backend, "host-1", {})
    claim(backend, make_job("queued").id, "host-1")
    done = on_server("retire", "host-1")
    assert done.status == 1
    assert "a job runs on host-1: drain it" in done.err
