"""Real couriers on a real Redis, each errand in a process of its own, and what kills them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from buildsrht import processes
from buildsrht.backend import Backend
from buildsrht.models import DeliveryStatus
from buildsrht.queue import DELIVERIES
from buildsrht.services import groups, jobs
from tests.buildsrht.courier.conftest import receiving, webhook
from worker import janitor

WAIT_SECONDS = 60
LONG_WAIT_SECONDS = 150

# Ends the job that it runs, and is killed before it has told anybody of the outbox.
KILLED_AT_THE_END = """
import os, signal
from buildsrht import config
from buildsrht.backend import Backend, open_backend
from buildsrht.models import JobStatus
from tests.build_host import claim, finish

backend = open_backend(config.load())
run = claim(backend, 1, "host-1")
Backend._send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
finish(backend, run, JobStatus.SUCCESS)
"""


@pytest.fixture
def environment(backend, tmp_path):
    """Variables that give another process the same backend."""
    config = backend.config
    path = tmp_path / "config.ini"
    path.write_text(
        f"[database]\nurl = {config.database.url}\n[redis]\nurl = {config.redis.url}\n"
        f"[storage]\npath = {config.storage.path}\n[worker]\npath = {config.worker.path}\n"
        f"[images]\nrecipes = {config.images.recipes}\n[keys]\npath = {config.keys.path}\n"
        "[courier]\nallow = 127.0.0.1\n"
    )
    return {**os.environ, "BUILDSRHT_CONFIG": str(path)}


@pytest.fixture
def courier(environment):
    """`buildsrht courier`, for as long as a block runs."""

    @contextmanager
    def run():
        command = [sys.executable, "-P", "-m", "buildsrht", "courier", "--count", "2"]
        process = subprocess.Popen(
            [*processes.dies_with_us(signal.SIGKILL), *command], env=environment
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)

    return run


@contextmanager
def sweeping(backend):
    """The part of a janitor that any host has."""
    stop = threading.Event()

    def sweep():
        while not stop.wait(janitor.SWEEP_SECONDS):
            janitor.sweep_service(backend)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def until(deliveries):
    """Wait until the newest delivery is as told: `until(lambda row: row.attempts == 2)`."""

    def wait(is_so, seconds=WAIT_SECONDS):
        deadline = time.monotonic() + seconds
        while not is_so(deliveries()[-1]):
            assert time.monotonic() < deadline, vars(deliveries()[-1])
            time.sleep(0.05)
        return deliveries()[-1]

    return wait


def is_delivered(row):
    return row.status == DeliveryStatus.DELIVERED


def ids(receiver):
    return [request.headers["X-Webhook-Delivery"] for request in receiver.requests]


def test_a_job_that_ends_is_told_at_once(end_job, receiver, courier, until, backend):
    with courier():
        end_job(webhook(receiver.url))
        row = until(is_delivered)
    assert (row.attempts, ids(receiver)) == (1, [str(row.uuid)])
    assert [key for key in backend.redis.scan_iter() if b"delivery-" in key] == []


def test_what_is_in_the_queue_many_times_is_delivered_once(
    end_job, receiver, courier, until, backend
):
    for _ in range(4):
        end_job(webhook(receiver.url))
    for _ in range(5):
        for delivery_id in (1, 2, 3, 4):
            backend.deliveries.enqueue(delivery_id)
    with courier():
        until(lambda _: backend.redis.llen(f"rq:queue:{DELIVERIES}") == 0)
        until(is_delivered)
    assert len(ids(receiver)) == len(set(ids(receiver))) == 4


def test_a_worker_that_is_killed_between_the_end_and_the_delivery_costs_nothing(
    end_job, receiver, courier, until, backend, environment, fetch, deliveries
):
    end_job(webhook(receiver.url), status="queued")

    killed = subprocess.run([sys.executable, "-c", KILLED_AT_THE_END], env=environment)

    assert killed.returncode == -signal.SIGKILL
    assert fetch(1).status == "success"
    assert [row.status for row in deliveries()] == ["waiting"]
    assert backend.deliveries.enqueued_ids() == set()

    janitor.sweep_service(backend)
    with courier():
        row = until(is_delivered)
    assert ids(receiver) == [str(row.uuid)]


def test_a_redis_that_was_wiped_costs_nothing(end_job, receiver, courier, until, backend):
    end_job(webhook(receiver.url))
    backend.redis.flushall()
    with courier():
        janitor.sweep_service(backend)
        row = until(is_delivered)
    assert ids(receiver) == [str(row.uuid)]


def test_a_courier_that_is_killed_in_the_middle_is_followed_by_another(
    end_job, courier, until, make_due, backend
):
    """Its receiver may get it twice, and can tell."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        end_job(webhook(f"http://127.0.0.1:{port}/hook"))
        with courier() as process:
            connection, _ = deaf.accept()
            heard = connection.recv(65536)
            process.kill()
            # The errand's own process goes with its pool: the connection ends.
            while connection.recv(65536):
                pass
            connection.close()
    row = until(lambda row: row.attempts == 1)
    assert row.status == DeliveryStatus.WAITING
    make_due()
    with receiving(port) as receiver, courier():
        janitor.sweep_service(backend)
        until(is_delivered)
        assert ids(receiver) == [str(row.uuid)]
    assert str(row.uuid).encode() in heard


@pytest.mark.slow
def test_a_receiver_that_is_down_for_a_minute_gets_it_once_when_it_is_back(
    end_job, courier, until, backend
):
    """With the pauses and the sweeps of a real service."""
    with receiving() as gone:
        port = int(gone.url.split(":")[2].split("/")[0])
    began = time.monotonic()
    end_job(webhook(gone.url))
    with courier(), sweeping(backend):
        until(lambda row: row.attempts == 4, LONG_WAIT_SECONDS)
        threading.Event().wait(max(0, began + 60 - time.monotonic()))
        with receiving(port) as receiver:
            row = until(is_delivered, LONG_WAIT_SECONDS)
    assert ids(receiver) == [str(row.uuid)]
    assert row.attempts == 5


def test_the_end_of_a_group_is_told_once_though_it_was_noticed_by_nobody(
    make_job, receiver, courier, until, backend, owner, monkeypatch
):
    make_job("pending")
    groups.create_group(backend, owner, [1], None, [webhook(receiver.url)], execute=False)
    with monkeypatch.context() as killed:
        killed.setattr(Backend, "_send", lambda *_: None)
        jobs.cancel(backend, 1, owner)
    for _ in range(2):
        janitor.sweep_service(backend)
    with courier():
        row = until(is_delivered)
    assert ids(receiver) == [str(row.uuid)]
