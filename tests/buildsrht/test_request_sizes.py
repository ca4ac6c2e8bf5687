"""How much a request may say: everywhere, with a length and without, against the real server."""

import gzip
import json
import socket

import httpx
import pytest

from buildsrht.models import Forge
from buildsrht.services import hooks
from buildsrht.services.hooks import NewHook
from tests.buildsrht import serving_process
from tests.buildsrht.hooks.reports import REPOSITORY
from tests.buildsrht.serving_process import START_SECONDS

MOST = 2**20
TREE = 64 * 2**20
PIECE = 64 * 1024
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=b"
ADDRESSES = [
    ("/api/jobs", JSON, MOST),
    ("/api/job-group", JSON, MOST),
    ("/query", JSON, MOST),
    ("/query", PARTS, TREE + MOST),
    ("{hook}", JSON, MOST),
    ("/oauth2/access-token", FORM, MOST),
    ("/oauth2/device-authorization", PARTS, MOST),
    ("/oauth2/revoke", FORM, MOST),
    ("/login", FORM, MOST),
    ("/register", PARTS, MOST),
    ("/submit", FORM, MOST),
    ("/submit", PARTS, MOST),
    ("/secrets", PARTS, MOST),
]
BEGINNINGS = {
    JSON: b'{"manifest": "',
    FORM: b"manifest=",
    PARTS: b'--b\r\nContent-Disposition: form-data; name="tree"; filename="x"\r\n\r\n',
}


@pytest.fixture
def ask(servers, backend, tmp_path, token, owner):
    """A client of a service that runs, with the best of tokens."""
    with serving_process.started(servers, backend, tmp_path, processes=1) as (process, origin):
        process.stdout.readline()
        headers = {"Authorization": f"Bearer {token(owner)}"}
        with httpx.Client(base_url=origin, headers=headers, timeout=START_SECONDS) as client:
            yield client


@pytest.fixture
def hook(backend, owner):
    """Where a hook is told."""
    made, _ = hooks.create_hook(backend, owner.name, NewHook(Forge.GITHUB, REPOSITORY))
    return f"/hooks/{made.uuid}"


def body_of(kind, size):
    """So many bytes and more, in pieces; the last one never comes if nobody wants them all."""
    yield BEGINNINGS[kind]
    for _ in range(size // PIECE + 1):
        yield b"x" * PIECE
    yield b"\r\n--b--\r\n" if kind == PARTS else b""


@pytest.mark.parametrize("has_length", [True, False])
def test_what_is_too_large_is_refused_everywhere_and_changes_nothing(
    ask, hook, row_counts, has_length
):
    before = row_counts()

    statuses = {
        (path, kind): send(ask, path.format(hook=hook), kind, most, has_length)
        for path, kind, most in ADDRESSES
    }

    assert statuses == dict.fromkeys(statuses, 413)
    assert row_counts() == before


def send(client, path, kind, most, has_length):
    """The status of what is answered to a body that is too large."""
    body = body_of(kind, most)
    content = b"".join(body) if has_length else body
    headers = {"Content-Type": kind, "Connection": "close"}
    return client.post(path, content=content, headers=headers).status_code


def test_a_length_that_is_too_large_is_refused_before_anything_was_sent(ask):
    """Nobody waits for a gigabyte, nor for a part of it."""
    url = ask.base_url
    head = f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {ask.headers['Authorization']}"
    with socket.create_connection((url.host, url.port), timeout=START_SECONDS) as connection:
        connection.sendall(f"{head}\r\nContent-Length: 1073741824\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_nothing_that_is_compressed_is_unpacked(ask, row_counts, manifest):
    """Else a kilobyte could be a gigabyte."""
    body = gzip.compress(json.dumps({"manifest": manifest}).encode())
    before = row_counts()

    for path in ("/api/jobs", "/query"):
        headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
        assert ask.post(path, content=body, headers=headers).status_code == 400

    assert row_counts() == before


def test_the_head_of_a_request_is_bounded_too(ask):
    long = [
        ask.get(f"/api/jobs?{'x' * 5000}"),
        ask.get("/api/jobs", headers={"X-Long": "x" * 9000}),
        ask.get("/api/jobs", headers={f"X-{number}": "x" for number in range(120)}),
    ]
    assert [400 <= answer.status_code < 500 for answer in long] == [True] * 3
    assert ask.get("/healthz").status_code == 200
