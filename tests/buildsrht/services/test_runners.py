"""What build hosts say of themselves, and who is silent."""

from datetime import UTC, datetime, timedelta

import pytest

from buildsrht.models import Runner
from buildsrht.queue import SILENCE
from buildsrht.services import overview, runners
from buildsrht.services.runners import REMEMBERED


@pytest.fixture
def hosts(backend):
    def hosts():
        with backend.transaction() as session:
            return {host.name: host for host in runners.list_runners(session)}

    return hosts


@pytest.fixture
def heard_of(backend):
    """A host that has said something so long ago."""

    def heard_of(name: str, ago: timedelta):
        with backend.transaction() as session:
            session.add(Runner(name=name, facts={}, seen=datetime.now(UTC) - ago))

    return heard_of


def test_a_host_that_has_just_said_something_is_there(backend, hosts):
    runners.report(backend, "host-1", {"spares": 2})

    [host] = hosts().values()
    assert (host.name, host.is_silent, host.facts) == ("host-1", False, {"spares": 2})


def test_only_what_a_host_said_last_counts(backend, hosts, heard_of):
    heard_of("host-1", timedelta(hours=1))

    runners.report(backend, "host-1", {"spares": 1})

    assert (hosts()["host-1"].is_silent, hosts()["host-1"].facts) == (False, {"spares": 1})


def test_hosts_are_listed_by_name_the_silent_ones_too(hosts, heard_of):
    heard_of("host-2", timedelta(0))
    heard_of("host-1", SILENCE * 2)

    assert [(host.name, host.is_silent) for host in hosts().values()] == [
        ("host-1", True),
        ("host-2", False),
    ]


def test_who_is_silent_is_not_counted_in_the_queue_either(backend, hosts, heard_of):
    heard_of("host-1", SILENCE - timedelta(seconds=20))
    heard_of("host-2", SILENCE + timedelta(seconds=20))

    there = [host for host in hosts().values() if not host.is_silent]
    assert overview.queue_now(backend).hosts == len(there) == 1


def test_a_host_that_never_comes_back_is_forgotten(backend, hosts, heard_of):
    heard_of("gone", REMEMBERED + timedelta(minutes=1))
    heard_of("away", REMEMBERED - timedelta(minutes=1))

    runners.report(backend, "host-1", {})

    assert set(hosts()) == {"away", "host-1"}
