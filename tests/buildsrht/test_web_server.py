"""The web service as a process: up on its port, sharing nothing, down when asked."""

import os
import signal
import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest

from buildsrht import web_server
from buildsrht.api import events
from buildsrht.errors import OperatorError
from buildsrht.logs import LogName
from tests.build_host import claim
from tests.buildsrht import serving_process
from tests.buildsrht.serving_process import START_SECONDS


@pytest.fixture
def start(servers, backend, tmp_path):
    """Start the service with these options of [web]; yields its process and its origin."""

    def run(before="", **options):
        return serving_process.started(servers, backend, tmp_path, before, **options)

    return run


@pytest.fixture
def service(start):
    """The origin of a service that runs."""
    with start(processes=2) as (process, origin):
        process.stdout.readline()
        yield origin


def test_it_says_once_where_it_listens_and_answers_there(start):
    with start() as (process, origin):
        assert process.stdout.readline() == f"listening on {origin}\n".encode()
        assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).json() == {"status": "ok"}

        process.terminate()
        assert process.communicate(timeout=START_SECONDS) == (b"", None)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked_and_that_is_a_success(start, how):
    with start() as (process, origin):
        process.stdout.readline()
        httpx.get(f"{origin}/healthz", timeout=START_SECONDS, headers={"Connection": "close"})

        process.send_signal(how)

        assert process.wait(START_SECONDS) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{origin}/healthz")


@pytest.mark.parametrize("how", ["handle_exit", "handle_quit"])
def test_a_process_can_be_asked_to_stop_before_it_has_the_application(how, monkeypatch):
    heard = []
    monkeypatch.setattr(web_server.ThreadWorker, how, lambda *signal: heard.append(signal[1:]))
    process = object.__new__(web_server._Worker)

    getattr(process, how)(signal.SIGTERM, None)

    assert heard == [(signal.SIGTERM, None)]


def test_a_client_that_keeps_its_connection_does_not_keep_it_from_stopping(start):
    with start() as (process, origin), httpx.Client(base_url=origin) as client:
        process.stdout.readline()
        client.get("/healthz", timeout=START_SECONDS)
        asked = time.monotonic()

        process.terminate()

        assert process.wait(START_SECONDS) == 0
        assert time.monotonic() - asked < 7


def test_a_port_that_is_taken_is_named_in_one_sentence(config):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = f"^cannot listen on 127.0.0.1:{port}: Address already in use$"

        with pytest.raises(OperatorError, match=sentence):
            web_server.serve(replace(config, web=replace(config.web, port=port)))


def test_a_host_that_is_not_ours_is_named_in_one_sentence(config):
    with pytest.raises(OperatorError, match=r"^cannot listen on 192\.0\.2\.1:5002: "):
        web_server.serve(replace(config, web=replace(config.web, host="192.0.2.1")))


def test_a_mistake_in_the_recipes_is_told_before_anything_is_served(config, tmp_path):
    with pytest.raises(OperatorError, match=r"\[images\] recipes"):
        web_server.serve(replace(config, images=replace(config.images, recipes=tmp_path)))


@pytest.mark.usefixtures("backend")
def test_many_clients_at_once_are_all_answered(service, token, owner, manifest):
    headers = {"Authorization": f"Bearer {token(owner)}"}
    with httpx.Client(base_url=service, headers=headers, timeout=START_SECONDS) as client:
        ids = [client.post("/api/jobs", json={"manifest": manifest}).json()["id"] for _ in range(9)]
        listed = client.get("/api/jobs").json()

    assert [job["id"] for job in listed["results"]] == sorted(ids, reverse=True)


def test_logs_and_downloads_come_over_the_wire_whole(service, make_job, write_log, keep_artifact):
    data = os.urandom(3_000_000)
    job = make_job("success")
    write_log(job, "build", data, seal=True)
    artifact = keep_artifact(job, "out.bin", data)
    path = f"{service}/artifacts/1/{artifact.secret}/out.bin"

    assert httpx.get(f"{service}/query/log/1/build/log").content == data
    assert httpx.get(path, headers={"Range": "bytes=-5"}).content == data[-5:]
    assert httpx.head(path).headers["Content-Length"] == "3000000"


def test_a_body_without_a_length_is_held_to_the_limit_too(service, token, owner):
    headers = {"Authorization": f"Bearer {token(owner)}", "Content-Type": "application/json"}
    endless = (b" " * 65_536 for _ in range(100))

    response = httpx.post(f"{service}/api/jobs", content=endless, headers=headers)

    assert response.status_code == 413


def test_clients_that_stall_do_not_hold_the_service_for_ever(start):
    """Two threads, two clients that send half a request, and a third that is answered."""
    with start("web_server.STALL_SECONDS = 1; ", threads=2) as (process, origin):
        process.stdout.readline()
        address = urlsplit(origin)
        stalled = [socket.create_connection((address.hostname, address.port)) for _ in range(2)]
        for connection in stalled:
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        answer = httpx.get(f"{origin}/healthz", timeout=15)
        assert answer.status_code == 200
        for connection in stalled:
            connection.close()


# --- streams of events ----------------------------------------------------------------------------


@pytest.fixture
def watch(make_job):
    """A stream of job 1, which is queued, once it has told that: yields what else it tells."""
    make_job("queued")

    @contextmanager
    def watch(origin):
        with httpx.stream("GET", f"{origin}/api/jobs/1/events", timeout=START_SECONDS) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            while "queued" not in next(lines):
                pass
            yield lines

    return watch


def test_what_happens_to_a_job_is_told_at_once(service, watch, backend):
    with watch(service) as lines:
        claim(backend, 1, "host-1")
        assert any('"running"' in line for line in lines)
        backend.logs.append(LogName(1, None), 1, 0, b"Starting.\n")
        assert any("Starting." in line for line in lines)


def test_who_watches_does_not_keep_others_from_being_answered(start, watch):
    with start(processes=1, threads=1, streams=8) as (process, origin):
        process.stdout.readline()
        with watch(origin), watch(origin):
            assert httpx.get(f"{origin}/healthz", timeout=START_SECONDS).status_code == 200
            assert httpx.get(f"{origin}/api/jobs/1/events").status_code == 503


def test_streams_end_in_good_order_when_the_service_is_asked_to_stop(start, watch):
    with start() as (process, origin):
        process.stdout.readline()
        with watch(origin) as lines:
            process.terminate()
            # What breaks off without an end is an error of the protocol.
            assert [line for line in lines if line.strip(":")] == []
        assert process.wait(START_SECONDS) == 0


def test_a_client_that_is_gone_makes_room_for_another(start, watch):
    with start(processes=1, streams=1) as (process, origin):
        process.stdout.readline()
        with watch(origin):
            pass
        # Sooner than the next word to it would show that it is gone.
        deadline = time.monotonic() + events.HEARTBEAT_SECONDS - 2
        status = None
        while status != 200 and time.monotonic() < deadline:
            with httpx.stream("GET", f"{origin}/api/jobs/1/events") as response:
                status = response.status_code
        assert status == 200
