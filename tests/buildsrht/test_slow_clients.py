"""Clients that send or read slowly, against the real server with real sockets."""

import os
import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.buildsrht import serving_process
from tests.buildsrht.serving_process import START_SECONDS

# The service with short patience: a second in all, and then as fast as a megabyte a second.
HASTY = (
    "from buildsrht import slow_clients as s; "
    "s.GRACE_SECONDS = 1; s.SLOWEST_BYTES = 2**20; s.LOOK_SECONDS = 0.1; "
)


@pytest.fixture
def hasty(servers, backend, tmp_path):
    """Start such a service with options of [web]; yields its address."""

    @contextmanager
    def run(**options):
        with serving_process.started(servers, backend, tmp_path, HASTY, processes=1, **options) as (
            process,
            origin,
        ):
            process.stdout.readline()
            yield origin

    return run


def connect(origin, source="127.0.0.1"):
    parts = urlsplit(origin)
    return socket.create_connection(
        (parts.hostname, parts.port), timeout=START_SECONDS, source_address=(source, 0)
    )


def drip(connection, stop, text=b"x"):
    """Send a byte now and then, until it is not taken any more."""
    try:
        while not stop.wait(0.05):
            connection.sendall(text)
    except OSError:
        pass


@contextmanager
def dripping(connections, text=b"x"):
    stop = threading.Event()
    threads = [
        threading.Thread(target=drip, args=(connection, stop, text)) for connection in connections
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def head(path, *lines, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("lines", "text"),
    [(["Content-Length: 100000"], b"x"), (["Transfer-Encoding: chunked"], b"1\r\nx\r\n")],
)
def test_a_body_that_comes_byte_by_byte_is_not_waited_for(hasty, lines, text):
    form = "Content-Type: application/x-www-form-urlencoded"
    with hasty() as origin, connect(origin) as connection:
        connection.sendall(head("/oauth2/access-token", form, *lines))
        with dripping([connection], text):
            begun = time.monotonic()
            answer = connection.recv(65536)

        # What would be a matter of hours.
        assert time.monotonic() - begun < START_SECONDS
        assert b" 400 " in answer.split(b"\r\n", 1)[0]


def test_slow_bodies_in_all_threads_hold_up_others_for_a_moment(hasty):
    with hasty(threads=1, streams=1) as origin, ExitStack() as stack:
        slow = [stack.enter_context(connect(origin, f"127.0.0.{n}")) for n in (2, 3, 4)]
        for connection in slow:
            form = "Content-Type: application/x-www-form-urlencoded"
            connection.sendall(head("/oauth2/access-token", form, "Content-Length: 100000"))
        with dripping(slow):
            assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).status_code == 200


def test_an_answer_that_is_not_taken_is_not_kept_for_ever(hasty, make_job, write_log):
    job = make_job("success")
    write_log(job, "build", os.urandom(24_000_000), seal=True)
    with hasty(threads=1, streams=1) as origin, ExitStack() as stack:
        slow = [stack.enter_context(connect(origin, f"127.0.0.{n}")) for n in (2, 3)]
        for connection in slow:
            connection.sendall(head(f"/query/log/{job.id}/build/log", method="GET"))

        assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).status_code == 200


def test_an_answer_that_is_taken_byte_by_byte_is_cut_off(hasty, make_job, write_log):
    data = os.urandom(24_000_000)
    job = make_job("success")
    write_log(job, "build", data, seal=True)
    with hasty() as origin, connect(origin) as connection:
        connection.sendall(head(f"/query/log/{job.id}/build/log", method="GET"))
        deadline = time.monotonic() + START_SECONDS
        # A look at what is there takes nothing: nothing more is sent until it is shut down.
        while not is_shut_down(connection) and time.monotonic() < deadline:
            connection.recv(1)
            time.sleep(0.05)
        rest = take_all(connection)

    assert len(rest) < len(data)


def is_shut_down(connection):
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def take_all(connection):
    taken = b""
    try:
        while part := connection.recv(1_000_000):
            taken += part
    except OSError:
        pass
    return taken


def test_who_is_fast_enough_gets_all_of_it(hasty, make_job, write_log):
    data = os.urandom(24_000_000)
    job = make_job("success")
    write_log(job, "build", data, seal=True)
    with hasty() as origin:
        for _ in range(2):
            answer = httpx.get(f"{origin}/query/log/{job.id}/build/log", timeout=START_SECONDS)
            assert answer.content == data


def test_one_address_leaves_half_of_the_threads_to_others(servers, backend, tmp_path):
    """With the patience of every day: what is slow here goes on for as long as the test does."""
    form = "Content-Type: application/x-www-form-urlencoded"
    with (
        serving_process.started(servers, backend, tmp_path, processes=1, threads=8, streams=5) as (
            process,
            origin,
        ),
        ExitStack() as stack,
    ):
        process.stdout.readline()
        slow = [stack.enter_context(connect(origin, "127.0.0.2")) for _ in range(12)]
        for connection in slow:
            connection.sendall(head("/oauth2/access-token", form, "Content-Length: 100000"))
        refused = {}
        deadline = time.monotonic() + START_SECONDS
        while len(refused) < 8 and time.monotonic() < deadline:
            refused |= {each: each.recv(65536) for each in slow if has_news(each, refused)}

        assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).status_code == 200

    assert len(refused) == 8
    assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused.values())
    assert all(b"\r\nRetry-After: 1\r\n" in answer for answer in refused.values())


def has_news(connection, heard):
    return connection not in heard and bool(select.select([connection], [], [], 0.01)[0])
