"""Every reason why a job waits, with workers that are registered as RQ registers them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis import ConnectionError, Redis
from rq import Worker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from buildsrht import queue
from buildsrht.models import User
from buildsrht.queue import PAUSED, job_queue
from buildsrht.services import dispatch, groups, runners
from buildsrht.services.waiting import WaitCode, reasons, reasons_of


@pytest.fixture
def register(backend):
    """A slot of a build host, in that state."""

    def make(state=WorkerStatus.IDLE, silent_for=timedelta()):
        worker = Worker([queue.NAME], connection=backend.redis, serializer=JSONSerializer)
        worker.register_birth()
        worker.set_state(state)
        heard = (datetime.now(UTC) - silent_for).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        backend.redis.hset(worker.key, "last_heartbeat", heard)
        return worker

    return make


@pytest.fixture
def codes(backend):
    return lambda job: [reason.code for reason in reasons(backend, job)]


def texts(backend, job):
    return [reason.text for reason in reasons(backend, job)]


def test_a_job_that_was_held_back_waits_to_be_started(backend, make_job):
    assert reasons(backend, make_job("pending")) == [
        (
            WaitCode.NOT_STARTED,
            "It was submitted to be held back, and waits until its owner starts it.",
        )
    ]


def test_a_job_in_a_group_waits_for_the_group(backend, make_job, owner: User, fetch):
    job = make_job("pending")
    groups.create_group(backend, owner, [job.id], None, [], execute=False)
    assert reasons(backend, fetch(job.id)) == [
        (
            WaitCode.GROUP_NOT_STARTED,
            "It is in group 1, and waits until its owner starts that.",
        )
    ]


@pytest.mark.parametrize("status", ["running", "success", "failed", "timeout", "cancelled"])
def test_a_job_that_was_started_waits_for_nothing(make_job, codes, status):
    assert codes(make_job(status)) == []


def test_without_a_build_host_all_jobs_wait_for_one(make_job, codes, backend):
    first, second, third = (make_job() for _ in range(3))
    assert codes(first) == [WaitCode.NO_HOST]
    assert codes(second) == [WaitCode.IN_QUEUE, WaitCode.NO_HOST]
    assert texts(backend, second)[0] == "1 of its owner's jobs is before it."
    assert texts(backend, third)[0] == "2 of its owner's jobs are before it."
    assert "No build host is there" in texts(backend, first)[0]


def test_the_next_job_for_which_a_slot_is_free_is_about_to_be_taken(make_job, codes, register):
    register(WorkerStatus.BUSY)
    register()
    first, second = make_job(), make_job()
    assert (codes(first), codes(second)) == ([], [WaitCode.IN_QUEUE])


def test_when_every_slot_is_busy_the_reason_says_how_many_there_are(make_job, register, backend):
    for _ in range(3):
        register(WorkerStatus.BUSY)
    [reason] = reasons(backend, make_job())
    assert reason == (WaitCode.HOSTS_BUSY, "No slot for a job is free: 3 in all, 3 busy.")


def test_a_slot_that_is_paused_is_said_to_be(make_job, register, backend):
    register(WorkerStatus.BUSY)
    register(PAUSED)
    [reason] = reasons(backend, make_job())
    assert reason.code == WaitCode.HOSTS_BUSY
    assert reason.text == (
        "No slot for a job is free: 2 in all, 1 busy, "
        "1 paused by a build host that is short of room or drained."
    )


def test_a_worker_that_was_killed_is_not_counted_for_long(make_job, codes, register):
    register(silent_for=timedelta(seconds=120))
    gone = register()
    gone.connection.delete(gone.key)
    assert codes(make_job()) == [WaitCode.NO_HOST]


def test_a_redis_that_is_away_is_a_reason_and_no_error(make_job, backend, tmp_path):
    job = make_job()
    away = job_queue(Redis(unix_socket_path=str(tmp_path / "none")), 60)
    [reason] = reasons(replace(backend, queue=away), job)
    assert reason.code == WaitCode.QUEUE_AWAY
    assert "not lost" in reason.text


def test_a_long_queue_is_not_counted_to_its_end(make_job, backend, owner, copies_of):
    copies_of(make_job(), dispatch.MOST_COUNTED + 1)
    assert texts(backend, make_job())[0] == "More than 1,000 of its owner's jobs are before it."


def test_other_users_jobs_are_not_before_it(make_job, make_user, codes, register):
    register()
    make_job(user=make_user("ben"))
    assert codes(make_job()) == []


def test_a_limit_is_said(make_job, limited, register):
    register()
    make_job("running")
    for option, said in (
        ("user_jobs", "Its owner has 1 jobs running, the most."),
        ("jobs", "1 jobs are running, the most there may be."),
    ):
        assert reasons(limited(**{option: 1}), make_job())[-1] == (WaitCode.LIMIT, said)


def test_an_image_that_no_build_host_has_is_said(make_job, backend, register, codes):
    register()
    host = {"images": [{"name": "debian/trixie", "arch": "arm64"}], "labels": ["gpu"]}
    runners.report(backend, "host-1", host)
    job = make_job()
    [reason] = reasons(backend, job)
    until = job.queued.astimezone(UTC) + timedelta(days=7)
    assert reason.code == WaitCode.NO_FITTING_HOST
    assert reason.text == (
        "No build host has the image debian/trixie (amd64), which is for the operator to mend."
        f" It waits until {until:%Y-%m-%d %H:%M} UTC, then it fails."
    )
    runners.report(backend, "host-2", {"images": [{"name": "debian/trixie", "arch": "amd64"}]})
    assert codes(make_job()) == [WaitCode.IN_QUEUE]


def test_of_several_jobs_each_has_its_reasons(backend, make_job, codes):
    pending, queued, running = make_job("pending"), make_job(), make_job("running")

    found = reasons_of(backend, [pending, queued, running])

    assert {job_id: [reason.code for reason in each] for job_id, each in found.items()} == {
        pending.id: codes(pending),
        queued.id: codes(queued),
    }


def test_a_queue_that_is_away_is_asked_once_for_all(backend, make_job):
    jobs = [make_job("pending"), make_job(), make_job()]

    class Away:
        asked = 0

        def slots(self):
            self.asked += 1
            raise ConnectionError

    away = Away()
    found = reasons_of(replace(backend, queue=away), jobs)

    assert away.asked == 1
    assert [[reason.code for reason in found[job.id]] for job in jobs] == [
        [WaitCode.NOT_STARTED],
        [WaitCode.QUEUE_AWAY],
        [WaitCode.QUEUE_AWAY],
    ]
