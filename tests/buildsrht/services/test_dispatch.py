"""Whose job is begun next, on which build host, and how hosts get to know."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from buildsrht.models import JobStatus, Runner, RunnerState
from buildsrht.queue import Route
from buildsrht.services import dispatch, runners, runs
from buildsrht.services.dispatch import Offer, take
from tests.build_host import finish

TRIXIE = ("debian/trixie", "amd64")
OFFER = Offer("host-1", frozenset([TRIXIE]))


@pytest.fixture
def taken(backend):
    """The id of the job that a host with that offer takes; None if there is none for it."""

    def take_one(offer=OFFER, limits=backend):
        run = take(limits, offer)
        return run and run.job_id

    return take_one


def end(backend, job_id, runner="host-1"):
    run = runs.Run(job_id, 1, runner, 1, "", "", "", "", False, {})
    finish(backend, run, JobStatus.SUCCESS)


def asking(labels):
    return f"image: debian/trixie\nlabels: {labels}\ntasks: [{{a: b}}]\n"


# --- what a host can run ----------------------------------------------------------------------


def test_a_host_takes_a_job_and_it_is_its_own(backend, make_job, fetch):
    job = make_job()
    run = take(backend, OFFER)
    assert (run.job_id, run.attempt, run.runner, run.image) == (job.id, 1, "host-1", TRIXIE[0])
    assert (fetch(job.id).status, fetch(job.id).runner) == (JobStatus.RUNNING, "host-1")
    assert fetch(job.id).deadline - fetch(job.id).started == timedelta(
        seconds=backend.config.worker.job_timeout
    )


@pytest.mark.parametrize("status", ["pending", "running", "success", "cancelled"])
def test_only_what_is_queued_is_taken(make_job, taken, status):
    make_job(status)
    assert taken() is None


@pytest.mark.parametrize("platform", [("debian/sid", "amd64"), ("debian/trixie", "arm64")])
def test_a_host_takes_nothing_for_which_it_has_no_image(make_job, taken, platform):
    make_job()
    assert taken(Offer("host-1", frozenset([platform]))) is None


@pytest.mark.parametrize(
    ("asked", "offered", "fits"),
    [
        ("[]", [], True),
        ("[]", ["gpu"], True),
        ("[gpu]", [], False),
        ("[gpu]", ["gpu", "large"], True),
        ("[gpu, large]", ["gpu"], False),
        ("[large, gpu]", ["gpu", "large"], True),
    ],
)
def test_a_host_has_every_label_that_a_job_asks_for(make_job, taken, asked, offered, fits):
    job = make_job(manifest=asking(asked))
    offer = Offer("host-1", frozenset([TRIXIE]), frozenset(offered))
    assert offer.fits(dispatch.route_of(job)) == fits
    assert taken(offer) == (job.id if fits else None)


def test_what_another_host_has_to_run_holds_up_nothing(make_job, taken):
    make_job(manifest=asking("[gpu]"))
    second = make_job()
    assert taken() == second.id


@pytest.mark.parametrize("state", [RunnerState.DRAINING, RunnerState.RETIRED])
def test_a_host_that_is_not_active_takes_nothing(backend, make_job, taken, state):
    make_job()
    runners.report(backend, "host-1", {})
    with backend.transaction() as session:
        session.execute(update(Runner).values(state=state))
    assert taken() is None
    assert taken(replace(OFFER, runner="host-2")) == 1


# --- whose turn it is -------------------------------------------------------------------------


def test_of_one_user_the_oldest_job_is_begun_first(make_job, taken):
    ids = [make_job().id for _ in range(3)]
    assert [taken() for _ in range(4)] == [*ids, None]


def test_who_submits_one_job_does_not_wait_for_who_submits_many(make_job, make_user, taken):
    many = [make_job(user=make_user("ann")).id for _ in range(4)]
    one = make_job(user=make_user("ben")).id
    assert [taken() for _ in range(5)] == [many[0], one, *many[1:]]


def test_on_a_host_with_one_slot_users_take_turns(backend, make_job, make_user, taken):
    ann = [make_job(user=make_user("ann")).id for _ in range(3)]
    ben = [make_job(user=make_user("ben")).id for _ in range(2)]
    begun = []
    while job_id := taken():
        begun.append(job_id)
        end(backend, job_id)
    assert begun == [ann[0], ben[0], ann[1], ben[1], ann[2]]


def test_who_has_fewer_jobs_running_comes_first(make_job, make_user, taken):
    for _ in range(2):
        make_job("running", user=make_user("ann"))
    make_job("running", user=make_user("ben"))
    ann = make_job(user=make_user("ann")).id
    ben = [make_job(user=make_user("ben")).id for _ in range(2)]
    assert [taken() for _ in range(3)] == [ben[0], ann, ben[1]]


# --- limits -----------------------------------------------------------------------------------


def test_a_user_has_no_more_jobs_running_than_the_limit(limited, make_job, make_user, taken):
    ann = [make_job(user=make_user("ann")).id for _ in range(3)]
    ben = make_job(user=make_user("ben")).id
    backend = limited(user_jobs=2)
    assert [taken(limits=backend) for _ in range(4)] == [ann[0], ben, ann[1], None]
    end(backend, ann[0])
    assert taken(limits=backend) == ann[2]


def test_all_together_have_no_more_jobs_running_than_the_limit(limited, make_job, taken):
    ids = [make_job().id for _ in range(3)]
    backend = limited(jobs=2)
    assert [taken(limits=backend) for _ in range(3)] == [*ids[:2], None]


def test_hosts_that_take_at_once_take_each_job_once_and_keep_the_limit(limited, make_job):
    ids = {make_job().id for _ in range(9)}
    backend = limited(user_jobs=5)
    with ThreadPoolExecutor(8) as hosts:
        runs = list(hosts.map(lambda n: take(backend, replace(OFFER, runner=f"h{n}")), range(12)))
    taken = [run.job_id for run in runs if run]
    assert len(taken) == len(set(taken)) == 5
    assert set(taken) <= ids


def test_a_host_that_hangs_while_it_takes_holds_up_the_others_for_seconds_only(backend, make_job):
    job = make_job()
    with backend.engine.connect() as hanging:
        hanging.execute(dispatch.EXCLUSIVELY)
        run = take(backend, OFFER)
        hanging.invalidate()
    assert run.job_id == job.id


# --- how hosts get to know --------------------------------------------------------------------


@pytest.fixture
def settled(monkeypatch):
    """As if everything had been queued long ago."""
    monkeypatch.setattr(dispatch, "SETTLE", timedelta(0))


def test_a_job_wakes_a_host_that_has_what_it_asks_for(backend, make_job):
    make_job(manifest=asking("[large, gpu]"))
    assert backend.queue.routes() == [Route(*TRIXIE, ("gpu", "large"))]


@pytest.mark.usefixtures("settled")
def test_a_wiped_redis_loses_no_job(backend, make_job):
    for status in ("queued", "pending", "queued", "running", "success"):
        make_job(status)
    backend.redis.flushall()

    assert dispatch.announce_missing(backend) == [1, 3]
    assert backend.queue.enqueued_ids() == {1, 3}
    assert dispatch.announce_missing(backend) == []


def test_a_job_that_was_queued_just_now_is_not_missing_yet(backend, make_job):
    make_job("queued")
    backend.redis.flushall()

    assert dispatch.announce_missing(backend) == []


@pytest.mark.usefixtures("settled")
def test_a_host_that_was_woken_by_one_job_and_took_another_leaves_enough_to_wake_the_next(
    backend, make_job, make_user, taken
):
    first = make_job(user=make_user("ann"))
    make_job(user=make_user("ann"))
    taken()
    backend.queue.discard(dispatch.route_of(first), first.id)
    make_job(user=make_user("ben"))
    # Ben's turn it is, though Ann's job woke the host.
    backend.queue.discard(Route(*TRIXIE), 2)
    assert taken() == 3

    assert dispatch.announce_missing(backend) == []
    assert len(backend.queue.enqueued_ids()) == 1


@pytest.mark.usefixtures("settled")
def test_nobody_is_woken_for_what_a_limit_holds_back(limited, make_job):
    for _ in range(3):
        make_job("running")
    for _ in range(3):
        make_job()
    backend = limited(user_jobs=4)
    backend.redis.flushall()
    assert dispatch.announce_missing(backend) == [4]
    backend.redis.flushall()
    assert dispatch.announce_missing(limited(jobs=5)) == [4, 5]
    backend.redis.flushall()
    assert dispatch.announce_missing(limited(jobs=2)) == []


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("limits", [{"user_jobs": 1}, {"jobs": 1}, {"user_jobs": 1, "jobs": 1}])
def test_what_no_host_can_run_keeps_nobody_from_being_woken_for_the_rest(limited, make_job, limits):
    make_job(manifest=asking("[nowhere]"))
    make_job()
    backend = limited(**limits)
    backend.redis.flushall()
    assert sorted(dispatch.announce_missing(backend)) == [1, 2]


@pytest.mark.usefixtures("settled")
def test_what_one_users_limit_holds_back_keeps_nobody_from_being_woken_for_anothers(
    limited, make_job, make_user
):
    ann, ben = make_user("ann"), make_user("ben")
    make_job("running", user=ann)
    for _ in range(3):
        make_job(user=ann)
    make_job(user=ben)
    backend = limited(user_jobs=1, jobs=2)
    backend.redis.flushall()
    assert dispatch.announce_missing(backend) == [5]


@pytest.mark.usefixtures("settled")
def test_when_a_job_ends_what_waited_for_its_limit_wakes_a_host(limited, make_job):
    make_job("running")
    make_job()
    backend = limited(user_jobs=1)
    backend.redis.flushall()
    dispatch.announce_limited(backend)
    assert backend.queue.enqueued_ids() == set()

    end(backend, 1, "host-1")
    dispatch.announce_limited(backend)
    assert backend.queue.enqueued_ids() == {2}


def test_to_take_a_job_the_queue_is_not_read(backend, make_job, make_user, copies_of):
    copies_of(make_job(user=make_user("ann")), 5000)
    make_job(user=make_user("ben"))
    with backend.engine.connect() as connection:
        connection.execute(text("ANALYZE job"))
        asked = dispatch.asked(backend, OFFER)
        lines = connection.execute(text(f"EXPLAIN ANALYZE {dispatch.FAIREST.text}"), asked)
        plan = "\n".join(line for (line,) in lines)
    assert "Seq Scan on job" not in plan, plan
    assert "job_queued" in plan, plan
