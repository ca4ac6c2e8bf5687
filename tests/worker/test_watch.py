"""What ends a run from outside, also when the database is in no state to say so."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from buildsrht.services import jobs, runs
from tests.build_host import claim
from tests.worker.conftest import replace_in
from worker.watch import Interrupted, Interruption, Watch


@pytest.fixture
def run(backend, make_job):
    return claim(backend, make_job().id, "host-1")


def far_away():
    return time.monotonic() + 3600


@contextmanager
def watched(backend, run, deadline):
    """A watch with something to kill; the event is set once it was."""
    killed = threading.Event()
    with Watch(backend, run, deadline) as watch, watch.kills(killed.set):
        yield watch, killed


def test_a_cancel_kills_and_is_told(backend, run, owner):
    with watched(backend, run, far_away()) as (watch, killed):
        watch.check()
        jobs.cancel(backend, run.job_id, owner)
        assert killed.wait(2)
        with pytest.raises(Interrupted, match="was cancelled"):
            watch.check()


def test_the_deadline_kills(backend, run):
    with watched(backend, run, time.monotonic()) as (watch, killed):
        assert killed.wait(2)
        assert watch.interruption == Interruption.TIMEOUT


def test_what_can_be_killed_only_later_is_killed_at_once(backend, run, owner):
    with watched(backend, run, time.monotonic()) as (watch, killed):
        assert killed.wait(2)
        late = threading.Event()
        with watch.kills(late.set):
            assert late.is_set()


@pytest.fixture
def frozen_database(monkeypatch):
    """A database that takes every question and answers none until the test is over."""
    thawed = threading.Event()

    def never(*_):
        thawed.wait(30)
        raise OperationalError("SELECT", {}, Exception("frozen"))

    monkeypatch.setattr(runs, "check", never)
    yield thawed
    thawed.set()


def test_a_frozen_database_does_not_stop_the_deadline(backend, run, frozen_database):
    with watched(backend, run, time.monotonic() + 0.5) as (watch, killed):
        assert killed.wait(3)
        assert watch.interruption == Interruption.TIMEOUT
        frozen_database.set()


def test_a_database_that_is_silent_for_too_long_means_that_the_job_is_lost(
    backend, run, frozen_database
):
    backend = replace(backend, config=replace_in(backend.config, "worker", patience=1))
    with watched(backend, run, far_away()) as (watch, killed):
        assert killed.wait(4)
        assert watch.interruption == Interruption.LOST
        frozen_database.set()


def test_the_lease_is_kept_while_a_cancelled_run_still_clears_up(backend, run, owner, fetch):
    backend = replace(backend, config=replace_in(backend.config, "worker", lease=2))
    with watched(backend, run, far_away()) as (_, killed):
        jobs.cancel(backend, run.job_id, owner)
        assert killed.wait(2)
        before = fetch(run.job_id).lease_expires
        deadline = time.monotonic() + 10
        while fetch(run.job_id).lease_expires == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_run_of_which_no_task_has_begun_is_handed_back(backend, run):
    with watched(backend, run, far_away()) as (watch, killed):
        watch.hand_back()
        assert killed.wait(2)
        assert watch.interruption == Interruption.HANDED_BACK
        with pytest.raises(Interrupted, match="gives the job back"):
            watch.keep()


def test_a_run_whose_first_task_begins_is_kept(backend, run):
    with watched(backend, run, far_away()) as (watch, killed):
        watch.keep()
        watch.hand_back()
        assert not killed.wait(1)
        watch.check()


def test_a_run_that_may_not_be_begun_again_is_kept(backend, run):
    backend = replace(backend, config=replace_in(backend.config, "worker", attempts=1))
    with watched(backend, run, far_away()) as (watch, killed):
        watch.hand_back()
        assert not killed.wait(1)
