"""The queue carries ids, as JSON, to a function that we name and do not import."""

import json
import zlib

from buildsrht.queue import GRACE_SECONDS, NAME


def payloads(backend):
    return [backend.redis.hgetall(key) for key in backend.redis.keys("rq:job:*")]


def test_an_entry_is_a_function_by_name_and_a_job_id_in_json(backend):
    backend.queue.enqueue(7)

    [entry] = payloads(backend)
    name, _, args, kwargs = json.loads(zlib.decompress(entry[b"data"]))
    assert (name, args, kwargs) == ("worker.run_job.run_job", [7], {})


def test_rq_gives_a_job_longer_than_its_own_deadline(backend):
    backend.queue.enqueue(7)

    [entry] = payloads(backend)
    assert int(entry[b"timeout"]) == backend.config.worker.job_timeout + GRACE_SECONDS


def test_what_was_sent_is_there_until_it_is_discarded(backend):
    for job_id in (7, 8):
        backend.queue.enqueue(job_id)
    assert backend.queue.enqueued_ids() == {7, 8}

    backend.queue.discard(7)

    assert backend.queue.enqueued_ids() == {8}
    assert len(payloads(backend)) == 1


def test_jobs_wait_in_the_order_they_came(backend):
    for job_id in (9, 7, 8):
        backend.queue.enqueue(job_id)

    assert backend.redis.lrange(f"rq:queue:{NAME}", 0, -1) == [b"job-9", b"job-7", b"job-8"]


def test_several_are_sent_at_once_in_their_order(backend):
    backend.queue.enqueue(9, 7, 8)

    assert backend.redis.lrange(f"rq:queue:{NAME}", 0, -1) == [b"job-9", b"job-7", b"job-8"]


def test_what_another_program_put_into_the_queue_is_not_a_job(backend):
    backend.queue.enqueue(7)
    backend.redis.rpush(f"rq:queue:{NAME}", "some-uuid", "job-", "job-99999999999")

    assert backend.queue.enqueued_ids() == {7}


def test_discarding_what_is_not_there_is_no_error(backend):
    backend.queue.discard(7)

    assert backend.queue.enqueued_ids() == set()
