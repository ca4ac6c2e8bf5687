"""The queues carry ids, as JSON, to a function that we name and do not import."""

import json
import zlib

import pytest

from buildsrht.queue import GRACE_SECONDS, MOST_AT_ONCE, Route

HERE = Route("debian/trixie", "amd64")
ELSEWHERE = Route("debian/trixie", "amd64", ("gpu", "large"))


def payloads(backend):
    return [backend.redis.hgetall(key) for key in backend.redis.keys("rq:job:*")]


def test_an_entry_is_a_function_by_name_and_a_job_id_in_json(backend):
    backend.queue.enqueue(HERE, 7)

    [entry] = payloads(backend)
    name, _, args, kwargs = json.loads(zlib.decompress(entry[b"data"]))
    assert (name, args, kwargs) == ("worker.run_job.run_job", [7], {})


def test_rq_gives_a_job_longer_than_its_own_deadline(backend):
    backend.queue.enqueue(HERE, 7)

    [entry] = payloads(backend)
    assert int(entry[b"timeout"]) == backend.config.worker.job_timeout + GRACE_SECONDS


def test_what_was_sent_is_there_until_it_is_discarded(backend):
    for job_id in (7, 8):
        backend.queue.enqueue(HERE, job_id)
    assert backend.queue.enqueued_ids() == {7, 8}

    backend.queue.discard(HERE, 7)

    assert backend.queue.enqueued_ids() == {8}
    assert len(payloads(backend)) == 1


def test_jobs_wait_in_the_order_they_came(backend):
    for job_id in (9, 7, 8):
        backend.queue.enqueue(HERE, job_id)

    assert backend.redis.lrange(f"rq:queue:{HERE.queue}", 0, -1) == [b"job-9", b"job-7", b"job-8"]


def test_several_are_sent_at_once_in_their_order(backend):
    backend.queue.enqueue(HERE, 9, 7, 8)

    assert backend.redis.lrange(f"rq:queue:{HERE.queue}", 0, -1) == [b"job-9", b"job-7", b"job-8"]


def test_what_another_program_put_into_the_queue_is_not_a_job(backend):
    backend.queue.enqueue(HERE, 7)
    backend.redis.rpush(f"rq:queue:{HERE.queue}", "some-uuid", "job-", "job-99999999999")

    assert backend.queue.enqueued_ids() == {7}


def test_discarding_what_is_not_there_is_no_error(backend):
    backend.queue.discard(HERE, 7)

    assert backend.queue.enqueued_ids() == set()


@pytest.mark.parametrize("route", [HERE, ELSEWHERE])
def test_a_route_is_known_by_the_name_of_its_queue(route):
    assert Route.of_queue(route.queue) == route


@pytest.mark.parametrize("name", ["buildsrht", "buildsrht-deliveries", "other:a:b:", "buildsrht:a"])
def test_other_queues_are_no_routes(name):
    assert Route.of_queue(name) is None


def test_each_route_has_a_queue_of_its_own(backend):
    backend.queue.enqueue(HERE, 7)
    backend.queue.enqueue(ELSEWHERE, 8)

    assert backend.queue.enqueued_ids() == {7, 8}
    assert backend.queue.routes() == [HERE, ELSEWHERE]
    assert backend.redis.lrange(f"rq:queue:{ELSEWHERE.queue}", 0, -1) == [b"job-8"]


def test_what_is_missing_is_sent_under_another_name(backend):
    backend.queue.enqueue(HERE, 7)

    assert backend.queue.enqueue_missing(HERE, [7, 8]) == [8]

    first, second = backend.redis.lrange(f"rq:queue:{HERE.queue}", 0, -1)
    assert first == b"job-7"
    assert second.startswith(b"job-8-")
    assert backend.queue.enqueued_ids() == {7, 8}


def test_it_matters_how_many_entries_there_are_and_not_whose(backend):
    backend.queue.enqueue(HERE, 1, 2)

    assert backend.queue.enqueue_missing(HERE, [7, 8]) == []
    assert backend.queue.enqueue_missing(HERE, [7, 8, 9]) == [7]


def test_a_long_queue_that_was_wiped_comes_back_step_by_step(backend):
    lost = range(1, MOST_AT_ONCE + 4)

    assert backend.queue.enqueue_missing(HERE, lost) == [*lost[:MOST_AT_ONCE]]
    assert backend.queue.enqueue_missing(HERE, lost) == [*lost[MOST_AT_ONCE:]]


def test_an_entry_that_came_again_is_not_discarded(backend):
    backend.queue.enqueue_again(HERE, 7)

    backend.queue.discard(HERE, 7)

    assert backend.queue.enqueued_ids() == {7}
