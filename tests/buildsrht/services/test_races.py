"""Two that want the same job: the first to commit stands, and the other one learns of it.

Each race is run with the second one beginning at the worst moment: after the first has written,
and before it commits.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.models import Job, JobStatus, TaskStatus, User
from buildsrht.services import administration, jobs, runs
from buildsrht.services.groups import create_group
from tests import build_host
from tests.build_host import claim

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
HAS_WRITTEN = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class InterruptedBackend(Backend):
    """Does something else just before each commit of something written."""

    before_commit: Callable[[], None]

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            if session.scalar(HAS_WRITTEN):
                self.before_commit()


@pytest.fixture
def race(backend):
    """Run `second` while `first` is about to commit; returns what both said."""

    def run(first, second):
        with ThreadPoolExecutor() as threads:
            started: list[Future] = []

            def start_second_once():
                if not started:
                    started.append(threads.submit(outcome, second, backend))
                    _wait_until_it_waits(started[0], backend)

            interrupted = InterruptedBackend(**vars(backend), before_commit=start_second_once)
            said = outcome(first, interrupted)
            return said, started[0].result(PATIENCE_SECONDS)

    return run


def _wait_until_it_waits(future: Future, backend: Backend) -> None:
    """Until it waits for a lock of ours, or is through without one."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not future.done() and time.monotonic() < deadline:
        with backend.transaction() as session:
            if session.scalar(WAITING):
                return
        time.sleep(0.002)


def outcome(verb, backend):
    try:
        return verb(backend)
    except Conflict:
        return "refused"


@pytest.fixture
def verbs(owner):
    """What can be done to job 1, which host-1 runs if it is running; each returns what it said."""
    ours = runs.Run(1, 1, "host-1", owner.id, "owner", "", "", "", True, {})

    def start(backend):
        jobs.start(backend, 1, owner)
        return "done"

    def cancel(backend):
        jobs.cancel(backend, 1, owner)
        return "done"

    def take(backend):
        return "done" if claim(backend, 1, "host-1") else "refused"

    def finish(backend):
        return build_host.finish(backend, ours, JobStatus.SUCCESS)

    def renew(backend):
        runs.renew(backend, ours)
        return "done"

    def expire(backend):
        return "done" if runs.expire_leases(backend) else "nothing"

    def move(backend):
        with backend.transaction() as session:
            [task, *_] = session.get_one(Job, 1).tasks
        runs.move_run_task(backend, ours, task.id, TaskStatus.RUNNING)
        return "done"

    return {verb.__name__: verb for verb in (start, cancel, take, finish, renew, expire, move)}


@pytest.fixture
def let_lease_expire(backend):
    def expire():
        with backend.transaction() as session:
            session.execute(update(Job).values(lease_expires=func.now()))

    return expire


@pytest.mark.parametrize(
    ("status", "first", "second", "said", "ends_as"),
    [
        ("pending", "start", "start", ("done", "refused"), "queued"),
        ("pending", "start", "cancel", ("done", "done"), "cancelled"),
        ("pending", "cancel", "start", ("done", "refused"), "cancelled"),
        ("queued", "take", "take", ("done", "refused"), "running"),
        ("queued", "take", "cancel", ("done", "done"), "running"),
        ("queued", "cancel", "take", ("done", "refused"), "cancelled"),
        ("queued", "cancel", "cancel", ("done", "refused"), "cancelled"),
        ("running", "finish", "cancel", ("success", "refused"), "success"),
        ("running", "cancel", "finish", ("done", "cancelled"), "cancelled"),
        ("running", "finish", "finish", ("success", "refused"), "success"),
    ],
)
def test_the_first_to_commit_stands(
    make_job, verbs, race, fetch, status, first, second, said, ends_as
):
    make_job(status)

    assert race(verbs[first], verbs[second]) == said
    assert fetch(1).status == ends_as


@pytest.mark.parametrize(
    ("first", "second", "said", "ends_as"),
    [
        ("expire", "finish", ("done", "refused"), "queued"),
        ("expire", "cancel", ("done", "done"), "cancelled"),
        ("expire", "renew", ("done", "done"), "queued"),
        ("expire", "expire", ("done", "nothing"), "queued"),
        ("finish", "expire", ("success", "nothing"), "success"),
        ("cancel", "expire", ("done", "nothing"), "running"),
        ("renew", "expire", ("done", "nothing"), "running"),
    ],
)
def test_a_lease_that_expires_is_one_more_racer(
    make_job, let_lease_expire, verbs, race, fetch, first, second, said, ends_as
):
    make_job("running")
    let_lease_expire()

    assert race(verbs[first], verbs[second]) == said
    assert fetch(1).status == ends_as


def test_a_cancel_that_was_accepted_is_kept_even_when_the_host_is_lost(
    make_job, backend, owner, let_lease_expire, fetch
):
    make_job("running")
    jobs.cancel(backend, 1, owner)
    let_lease_expire()

    runs.expire_leases(backend)

    assert fetch(1).status == JobStatus.CANCELLED


def test_no_task_begins_in_a_job_that_is_about_to_end(make_job, race, verbs, fetch):
    make_job("running")

    assert race(verbs["finish"], verbs["move"]) == (JobStatus.SUCCESS, "refused")

    assert [task.status for task in fetch(1).tasks] == ["pending", "pending"]


def test_of_two_groups_that_want_the_same_jobs_one_gets_them(make_job, backend, owner, race):
    for _ in range(2):
        make_job("pending")

    def group(*job_ids):
        def create(backend):
            return create_group(backend, owner, job_ids, None, [], execute=True).id

        return create

    with pytest.raises(jobs.BadInput, match="job 2 is in group 1 already"):
        race(group(1, 2), group(2, 1))


def test_a_crowd_leaves_one_claim_and_one_truth(make_job, verbs, backend, fetch):
    make_job("queued")
    crowd = [verbs["take"], verbs["cancel"]] * 8

    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(lambda verb: outcome(verb, backend), crowd))

    claims = said[::2].count("done")
    assert claims <= 1
    assert fetch(1).status == (JobStatus.RUNNING if claims else JobStatus.CANCELLED)


def test_two_administrators_do_not_dismiss_each_other(race, backend, admin, make_user):
    other = make_user("other", admin=True)

    said = race(
        lambda backend: administration.dismiss(backend, admin, "other"),
        lambda backend: administration.dismiss(backend, other, "admin"),
    )

    assert said == (None, "refused")
    with backend.transaction() as session:
        left = session.scalars(select(User.name).where(User.admin)).all()
    assert left == ["admin"]
