"""What facts mean to an operator, without any server."""

from pathlib import Path

import pytest

from buildsrht.checks import Verdict, judging
from buildsrht.checks.looking import KeyFacts, Room, Trouble
from buildsrht.config import load
from buildsrht.database import State


@pytest.mark.parametrize(
    ("ahead", "doubt", "verdict"),
    [
        (0.0, 0.0, Verdict.GOOD),
        (1.9, 0.0, Verdict.GOOD),
        (2.1, 0.0, Verdict.BAD),
        (-2.1, 0.0, Verdict.BAD),
        # A slow answer says nothing about a clock.
        (2.1, 1.0, Verdict.GOOD),
    ],
)
def test_clocks_that_differ_by_more_than_two_seconds_are_a_problem(ahead, doubt, verdict):
    assert judging.clock(State("15.1", "0005", ahead, doubt)).verdict == verdict


def test_the_database_of_a_newer_release_is_only_worth_a_warning():
    finding = judging.database(State("15.1", "0006", 0, 0), newest="0005")

    assert finding.verdict == Verdict.DOUBTFUL
    assert "upgrade this host" in finding.said


@pytest.mark.parametrize(
    ("room", "verdict"),
    [
        (Room(Path("/d"), free=10, writable=True), Verdict.GOOD),
        (Room(Path("/d"), free=9, writable=True), Verdict.BAD),
        (Room(Path("/d"), free=10, writable=False), Verdict.BAD),
        (Trouble("Input/output error"), Verdict.BAD),
    ],
)
def test_a_directory_must_be_writable_and_have_room(room, verdict):
    assert judging.directory("[storage] path", room, least=10).verdict == verdict


@pytest.mark.parametrize(("shared", "verdict"), [(True, Verdict.DOUBTFUL), (False, Verdict.GOOD)])
def test_a_reserve_of_a_disk_that_builds_fill_is_worth_a_warning(shared, verdict):
    assert judging.reserve(load({}), shared=shared).verdict == verdict


def test_storage_that_gives_back_something_else_is_a_problem():
    assert judging.storage(b"").verdict == Verdict.BAD


def test_keys_that_cannot_be_compared_are_only_worth_a_warning():
    assert judging.keys(KeyFacts(1, tried=None)).verdict == Verdict.DOUBTFUL


def test_what_cannot_be_opened_is_counted():
    said = judging.keys(KeyFacts(1, 3, ("secret a", "secret b", "hook c"))).said

    assert said.startswith("no key here opens secret a and 2 more: ")


def test_a_finding_is_one_line():
    assert str(judging.redis(Trouble("away"))) == "problem  redis: [redis] url: away"
