"""A webhook as its receiver sees it, and what becomes of the receiver's answer."""

import base64
import json
import re
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from buildsrht.config import destinations
from buildsrht.courier import addresses, delivery
from buildsrht.courier import webhook as webhooks
from buildsrht.keys import Keys
from buildsrht.models import Visibility
from buildsrht.services import groups, jobs
from tests.buildsrht.courier.conftest import receiving, webhook


def test_the_end_of_a_job_is_told_in_full(end_job, receiver, attempt, backend):
    end_job(webhook(receiver.url), status="failed", note="try **this**", tags=["a", "b"])

    attempt()

    [request] = receiver.requests
    origin = backend.config.web.origin
    logs = f"{origin}/query/log/1"
    assert request.path == "/hook"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Webhook-Event"] == "job"
    assert json.loads(request.body) == {
        "id": 1,
        "status": "failed",
        "setup_log": f"{logs}/log",
        "note": "try **this**",
        "runner": "host-1",
        "owner": {"canonical_name": "~owner", "name": "owner"},
        "tasks": [
            {"name": name, "status": "pending", "log": f"{logs}/{name}/log"}
            for name in ("build", "_quiet", "test")
        ],
        "tags": "a/b",
        "url": f"{origin}/~owner/job/1",
        "fault": None,
    }


def test_the_end_of_a_group_is_told_with_its_jobs(
    make_job, receiver, attempt, backend, owner, deliveries
):
    for _ in range(2):
        make_job("pending", visibility=Visibility.PRIVATE)
    groups.create_group(backend, owner, [1, 2], "both", [webhook(receiver.url)], execute=False)
    for job_id in (1, 2):
        jobs.cancel(backend, job_id, owner)

    attempt()

    [request] = receiver.requests
    said = json.loads(request.body)
    assert request.headers["X-Webhook-Event"] == "group"
    assert list(said) == ["id", "status", "note", "owner", "jobs"]
    assert (said["id"], said["status"], said["note"]) == (1, "failed", "both")
    assert said["owner"] == {"canonical_name": "~owner", "name": "owner"}
    assert [(job["id"], job["status"]) for job in said["jobs"]] == [
        (1, "cancelled"),
        (2, "cancelled"),
    ]


# --- signatures -----------------------------------------------------------------------------------


def verify(backend, request):
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(backend.keys.public_key))
    nonce = request.headers["X-Payload-Nonce"]
    signature = base64.b64decode(request.headers["X-Payload-Signature"], validate=True)
    key.verify(signature, request.body + nonce.encode())


def test_the_signature_is_of_the_body_and_the_nonce(end_job, receiver, attempt, backend):
    end_job(webhook(receiver.url))
    attempt()
    [request] = receiver.requests
    assert len(bytes.fromhex(request.headers["X-Payload-Nonce"])) == 8
    verify(backend, request)
    with pytest.raises(InvalidSignature):
        verify(backend, replace(request, body=request.body + b" "))


def test_the_page_shows_how_to_verify_it(end_job, receiver, attempt, backend):
    end_job(webhook(receiver.url))
    attempt()
    [request] = receiver.requests
    reader = {}
    exec(shown("python")[0].replace("THE PUBLIC KEY", backend.keys.public_key), reader)
    is_genuine = reader["is_genuine"]

    assert not is_genuine(request.headers, request.body + b" ")
    assert is_genuine(request.headers, request.body)
    assert not is_genuine(request.headers, request.body), "its nonce was seen before"


def test_the_page_shows_what_is_sent(end_job, receiver, attempt):
    end_job(webhook(receiver.url))
    attempt()
    job, group = map(json.loads, shown("json"))
    sent = json.loads(receiver.requests[0].body)
    assert list(job) == list(sent)
    assert list(job["tasks"][0]) == list(sent["tasks"][0])
    assert list(group) == ["id", "status", "note", "owner", "jobs"]


def shown(language):
    """The blocks in this language of the page on triggers."""
    page = Path(__file__).parents[3] / "docs/triggers.md"
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_each_attempt_has_a_new_nonce_and_the_same_delivery(
    end_job, receiver, attempt, backend, make_due
):
    end_job(webhook(receiver.url))
    receiver.will_answer(500)
    attempt()
    make_due()
    uuid = attempt().uuid

    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["X-Payload-Nonce"] != second.headers["X-Payload-Nonce"]
    assert {request.headers["X-Webhook-Delivery"] for request in (first, second)} == {str(uuid)}
    verify(backend, second)


def test_without_a_key_it_waits_for_the_operator(end_job, receiver, backend, tmp_path, deliveries):
    end_job(webhook(receiver.url))
    webhooks_off = replace(backend, keys=Keys(tmp_path))
    delivery.perform(webhooks_off)

    [row] = deliveries()
    assert (row.status, row.attempts) == ("waiting", 1)
    assert row.error == "this server is not set up for it; its operator knows more"
    assert receiver.requests == []


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "becomes", "error"),
    [
        (200, "delivered", None),
        (204, "delivered", None),
        (410, "abandoned", "answered with status 410"),
        *[
            (status, "waiting", f"answered with status {status}")
            for status in (300, 301, 302, 303, 400, 401, 404, 429, 500, 503)
        ],
    ],
)
def test_the_status_of_the_answer_decides(end_job, receiver, attempt, status, becomes, error):
    end_job(webhook(receiver.url))
    receiver.will_answer(status, {"Location": receiver.url})
    row = attempt()
    assert (row.status, row.error, row.response_status) == (becomes, error, status)
    assert len(receiver.requests) == 1


def test_what_was_sent_and_what_came_back_is_on_record(end_job, receiver, attempt):
    end_job(webhook(receiver.url))
    receiver.will_answer(200, {"X-Thanks": "much"}, b"caf\xc3\xa9 \xff\0")
    row = attempt()
    [request] = receiver.requests
    assert row.request_body.encode() == request.body
    assert row.request_headers["X-Payload-Nonce"] == request.headers["X-Payload-Nonce"]
    assert row.response_headers["X-Thanks"] == "much"
    assert row.response_body == "caf\xe9 \ufffd\ufffd"


def test_of_a_long_answer_the_beginning_is_kept(end_job, receiver, attempt):
    end_job(webhook(receiver.url))
    receiver.will_answer(200, {}, b"x" * 1_000_000)
    row = attempt()
    assert row.status == "delivered"
    assert row.response_body == "x" * 65536


def test_a_receiver_that_is_down_is_tried_again(end_job, attempt):
    with receiving() as gone:
        url = gone.url
    end_job(webhook(url))
    row = attempt()
    assert (row.status, row.response_status) == ("waiting", None)
    assert row.error == "127.0.0.1: Connection refused"


def test_a_receiver_that_trickles_is_hung_up_on(end_job, attempt, monkeypatch):
    monkeypatch.setattr(webhooks, "ATTEMPT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        end_job(webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        began = time.monotonic()
        row = attempt()
        assert 0.4 < time.monotonic() - began < 4
        thread.join()
    assert (row.status, row.error) == ("waiting", "no complete answer in time")


def trickle(listener):
    connection, _ = listener.accept()
    with connection:
        try:
            while True:
                connection.sendall(b"H")
                time.sleep(0.05)
        except OSError:
            return


def test_an_answer_that_is_not_http_is_tried_again(end_job, attempt):
    def talk_nonsense():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"220 mail.example.org ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk_nonsense)
        thread.start()
        end_job(webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        row = attempt()
        thread.join()
    assert row.status == "waiting"
    assert row.error


def test_who_says_yes_and_then_nothing_has_it(end_job, attempt, monkeypatch):
    monkeypatch.setattr(webhooks, "ATTEMPT_SECONDS", 1)

    def begin():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthank")
            while connection.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=begin)
        thread.start()
        end_job(webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        row = attempt()
        thread.join()
    assert (row.status, row.response_body) == ("delivered", "thank")


def test_a_name_and_password_in_the_address_are_sent_as_such(end_job, receiver, attempt):
    end_job(webhook(receiver.url.replace("http://", "http://ada:l%20v@")))
    attempt()
    [request] = receiver.requests
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"ada:l v"


def test_the_environment_names_no_proxy(end_job, receiver, attempt, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    end_job(webhook(receiver.url))
    assert attempt().status == "delivered"


# --- where it may go ------------------------------------------------------------------------------


def test_an_address_of_ours_is_not_asked(end_job, receiver, backend, deliveries):
    end_job(webhook(receiver.url))
    courier = replace(backend.config.courier, allow=())
    delivery.perform(replace(backend, config=replace(backend.config, courier=courier)))

    [row] = deliveries()
    assert (row.status, receiver.requests) == ("abandoned", [])
    assert row.error == (
        "127.0.0.1 is 127.0.0.1: private, special or our own, and not to be reached"
        " unless the operator excepts it in [courier] allow"
    )


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_that_keeps_the_method_is_followed(end_job, receiver, attempt, status):
    end_job(webhook(receiver.url))
    receiver.will_answer(status, {"Location": "/elsewhere"})
    row = attempt()
    first, second = receiver.requests
    assert (row.status, second.path, second.body) == ("delivered", "/elsewhere", first.body)


def test_a_redirect_to_a_forbidden_address_is_not_followed(end_job, receiver, attempt):
    end_job(webhook(receiver.url))
    receiver.will_answer(307, {"Location": "http://169.254.169.254/latest/meta-data/"})
    row = attempt()
    assert (row.status, len(receiver.requests)) == ("abandoned", 1)
    assert row.error.startswith("169.254.169.254 is 169.254.169.254: private")


def test_a_redirect_to_a_name_that_changed_its_address_is_not_followed(
    end_job, receiver, attempt, monkeypatch
):
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    monkeypatch.setattr(addresses, "resolve", lambda *_: answers.pop(0))
    port = receiver.url.split(":")[2].split("/")[0]
    end_job(webhook(f"http://changing.example:{port}/hook"))
    receiver.will_answer(307, {"Location": f"http://changing.example:{port}/again"})
    # So that the second request needs a connection of its own.
    receiver.answers[0][1]["Connection"] = "close"

    row = attempt()

    assert row.status == "abandoned"
    assert row.error.startswith("changing.example is 10.0.0.1")
    assert answers == []


def test_redirects_come_to_an_end(end_job, receiver, attempt):
    end_job(webhook(receiver.url))
    for _ in range(9):
        receiver.will_answer(307, {"Location": "/round"})
    row = attempt()
    assert (row.status, row.error) == ("waiting", "more than 3 redirects")
    assert len(receiver.requests) == 4


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "file:///etc/passwd", "http://[::1"])
def test_a_redirect_to_what_is_no_web_address_is_not_followed(end_job, receiver, attempt, location):
    end_job(webhook(receiver.url))
    receiver.will_answer(307, {"Location": location})
    row = attempt()
    assert (row.status, len(receiver.requests)) == ("waiting", 1)
    assert row.error.startswith("redirected")


def test_what_is_sent_encrypted_is_not_sent_on_in_the_clear():
    url = webhooks.httpx.URL("https://example.org/")
    with pytest.raises(webhooks.httpcore.ProtocolError, match="from https to http"):
        webhooks._redirected(url, "http://example.org/")


@pytest.mark.parametrize("allow", ["127.0.0.1:1", "127.0.0.2"])
def test_exceptions_are_of_one_port_or_address(end_job, receiver, backend, deliveries, allow):
    end_job(webhook(receiver.url))
    courier = replace(backend.config.courier, allow=destinations(allow))
    delivery.perform(replace(backend, config=replace(backend.config, courier=courier)))
    assert [row.status for row in deliveries()] == ["abandoned"]
    assert receiver.requests == []
