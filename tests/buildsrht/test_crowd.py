"""Many readers at once, and jobs that write a lot: what that takes is bounded, and others are
answered. With the real server and real sockets; `make bench` does it with ten thousand."""

import threading
import time

import httpx
import pytest

from bench import crowd, processes
from buildsrht.logs import LogName
from tests.build_host import BuildHost
from tests.buildsrht import serving_process
from tests.buildsrht.serving_process import START_SECONDS

READERS = 300
STREAMS = 8
EVENTS = "/api/jobs/1/events"
MEGABYTE = 1_000_000


@pytest.fixture
def served(servers, backend, tmp_path):
    """A service of one process; its origin and what it takes of memory, in MB."""
    options = {"processes": 1, "threads": 4, "streams": STREAMS}
    with serving_process.started(servers, backend, tmp_path, **options) as (process, origin):
        process.stdout.readline()
        assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).status_code == 200

        def memory():
            return sum(map(processes.resident_memory, processes.descendants(process.pid)))

        yield origin, memory


def write(host, count):
    """So many megabytes into the setup log."""
    for _ in range(count):
        host.write(None, b"x" * 79 + b"\n" + b"y" * (MEGABYTE - 80))


def test_there_are_so_many_streams_and_all_others_are_told_to_come_again(served, make_job):
    make_job("queued")
    origin, _ = served

    with crowd.gathered(origin, EVENTS, READERS, START_SECONDS) as gathered:
        assert gathered.statuses == {200: STREAMS, 503: READERS - STREAMS}
        assert gathered.polite == READERS - STREAMS
        assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).status_code == 200

    # When they are gone there is room again.
    deadline = time.monotonic() + START_SECONDS
    status = 503
    while status == 503 and time.monotonic() < deadline:
        with httpx.stream("GET", f"{origin}{EVENTS}", timeout=START_SECONDS) as response:
            status = response.status_code
    assert status == 200


def test_readers_who_take_nothing_do_not_fill_the_memory(served, make_job, backend):
    """Each could be owed 24 MB, and is owed no more than fits into its connection and a part."""
    make_job("queued")
    origin, memory = served
    host = BuildHost(backend, 1)
    with crowd.gathered(origin, EVENTS, STREAMS, START_SECONDS) as gathered:
        assert gathered.statuses == {200: STREAMS}
        before = memory()
        write(host, 24)
        assert reads_all(origin, 24 * MEGABYTE)
        assert memory() - before < 64


def reads_all(origin, size):
    """Whether somebody else who looks gets all of that log meanwhile."""
    answer = httpx.get(f"{origin}/query/log/1/log", timeout=START_SECONDS)
    return answer.status_code == 200 and len(answer.content) == size


def test_a_job_that_floods_its_log_does_not_hold_up_readers_of_others(served, make_job, backend):
    make_job("queued")
    make_job("queued")
    origin, _ = served
    flooding, quiet = BuildHost(backend, 1), BuildHost(backend, 2)
    quiet.write(None, "Hello.\n")
    is_over = threading.Event()

    def flood():
        # As much as `[limits] log` lets a job.
        for _ in range(64):
            if not is_over.is_set():
                write(flooding, 1)

    thread = threading.Thread(target=flood)
    with crowd.gathered(origin, EVENTS, STREAMS - 1, START_SECONDS):
        thread.start()
        try:
            for _ in range(20):
                answer = httpx.get(f"{origin}/query/log/2/log", timeout=START_SECONDS)
                assert answer.text == "Hello.\n"
            with httpx.stream(
                "GET", f"{origin}/api/jobs/2/events", timeout=START_SECONDS
            ) as response:
                assert any("Hello." in line for line in response.iter_lines())
        finally:
            is_over.set()
            thread.join()


def test_redis_holds_of_logs_what_jobs_that_run_have_written_and_nothing_afterwards(
    make_job, backend
):
    """So `[limits] log` for each job that runs at once bounds it."""
    backend.redis.memory_purge()
    before = backend.redis.info("memory")["used_memory"]
    hosts = []
    for number in range(1, 5):
        make_job("queued")
        hosts.append(BuildHost(backend, number))
        write(hosts[-1], 6)

    taken = backend.redis.info("memory")["used_memory"] - before
    assert 24 * MEGABYTE < taken < 1.3 * 24 * MEGABYTE
    live = [key for number in range(1, 5) for key in LogName(number, None).live_keys]
    # What a build host leaves that dies goes by itself.
    assert all(backend.redis.ttl(key) > 0 for key in live if backend.redis.exists(key))

    for host in hosts:
        host.finish()

    left = [key for key in live if backend.redis.exists(key)]
    assert left == [LogName(number, None).fence_key for number in range(1, 5)]
    # A connection of ours may still have a buffer of a megabyte.
    assert backend.redis.info("memory")["used_memory"] - before < 4 * MEGABYTE
