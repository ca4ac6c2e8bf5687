"""The HTTP client: what it makes of good answers, of refusals, and of a broken network."""

import hashlib
import io
import json
import re
import socket
import threading
from contextlib import closing

import pytest

from buildsrht.client import Client, Damaged, Incomplete, Refused, ServerAway


class Answers:
    """A server that gives these answers, one for each connection, and keeps the requests."""

    def __init__(self, *answers: bytes):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self._serve, args=answers)
        self._thread.start()

    def _serve(self, *answers: bytes) -> None:
        with self._listener:
            for answer in answers:
                connection, _ = self._listener.accept()
                with connection:
                    self.requests.append(request_on(connection))
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._thread.join()


def request_on(connection: socket.socket) -> str:
    """One request with its body, as text."""
    data = connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0:
        data += (more := connection.recv(missing))
        missing -= len(more)
    return data.decode()


def answer(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def ask():
    """Do something with a client whose server gives this answer; returns result and request."""

    def ask(answer, do):
        with closing(Answers(answer)) as server, Client(server.url, "secret") as client:
            result = do(client)
        return result, server.requests[0]

    return ask


# Requests


def test_every_request_carries_the_token(ask):
    _, request = ask(answer("200 OK", b"{}"), lambda client: client.cancel(3))

    assert request.startswith("POST /api/jobs/3/cancel HTTP/1.1\r\n")
    assert "Authorization: Bearer secret\r\n" in request


def test_a_url_of_the_public_origin_is_asked_for_at_the_address_we_know(ask):
    _, request = ask(
        answer("206 Partial Content"),
        lambda client: client.read_log("https://builds.example.org/query/log/1/log", 0, len),
    )

    assert request.startswith("GET /query/log/1/log HTTP/1.1\r\n")


def test_a_redirect_elsewhere_does_not_get_the_token(ask):
    with pytest.raises(Refused, match="302 Found"):
        ask(answer("302 Found", Location="http://127.0.0.1:1/"), lambda client: client.job(1))


# Refusals


def test_a_refusal_is_one_sentence_with_every_field_and_reason(ask):
    body = b'{"errors": [{"field": "tags", "reason": "too many"}, {"reason": "and so on"}]}'

    with pytest.raises(Refused, match=r"^tags: too many; and so on$"):
        ask(answer("400 Bad Request", body), lambda client: client.submit({}))


@pytest.mark.parametrize("body", [b"<h1>No</h1>", b"[]", b'{"errors": [1]}', b"null", b"\xff"])
def test_a_refusal_by_somebody_else_is_named_by_its_status(ask, body):
    with pytest.raises(Refused, match=r"^http://127\.0\.0\.1:\d+/api/jobs/1: 404 Not Found$"):
        ask(answer("404 Not Found", body), lambda client: client.job(1))


def test_an_answer_that_is_not_json_is_a_refusal(ask):
    with pytest.raises(Refused, match="answered, but not in JSON"):
        ask(answer("200 OK", b"<h1>It works!</h1>"), lambda client: client.job(1))


@pytest.mark.parametrize(
    "broken",
    [
        answer("503 Service Unavailable", b'{"errors": [{"reason": "try again"}]}'),
        answer("502 Bad Gateway", b"<h1>nginx</h1>"),
        answer("429 Too Many Requests", b'{"errors": [{"reason": "later"}]}'),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_trouble_that_may_pass_is_told_apart(ask, broken):
    with pytest.raises(ServerAway, match=r"^http://127\.0\.0\.1:\d+: "):
        ask(broken, lambda client: client.job(1))


def test_a_server_that_does_not_listen_is_away():
    with Client("http://127.0.0.1:1", "secret") as client, pytest.raises(ServerAway):
        client.job(1)


# GraphQL


def query(client):
    return client.graphql("query { me { id } }")


def test_a_query_is_answered_with_its_data(ask):
    data, request = ask(answer("200 OK", b'{"data": {"me": {"id": 1}}}'), query)

    assert data == {"me": {"id": 1}}
    assert request.startswith("POST /query HTTP/1.1\r\n")
    assert json.loads(request.partition("\r\n\r\n")[2]) == {
        "query": "query { me { id } }",
        "variables": {},
    }


def test_a_refused_query_is_one_sentence_and_keeps_what_came(ask):
    body = b'{"data": {"a": 1}, "errors": [{"message": "x: no"}, {"message": "never"}]}'

    with pytest.raises(Incomplete, match=r"^x: no; never$") as refused:
        ask(answer("200 OK", body), query)

    assert refused.value.data == {"a": 1}


def test_a_query_that_a_passing_trouble_stopped_is_told_apart(ask):
    body = (
        b'{"data": null, "errors": [{"message": "later", "extensions": {"code": "UNAVAILABLE"}}]}'
    )

    with pytest.raises(ServerAway, match=r"^http://127\.0\.0\.1:\d+: later$"):
        ask(answer("200 OK", body), query)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": null}', b'{"errors": [1]}', b"3"])
def test_an_answer_that_is_not_graphql_is_a_refusal(ask, body):
    with pytest.raises(Refused, match="answered, but not as GraphQL does"):
        ask(answer("200 OK", body), query)


def test_files_are_sent_as_the_multipart_specification_says(ask):
    told = []
    files = {"tree": io.BytesIO(b"first"), "secret.upload": io.BytesIO(b"second")}

    _, request = ask(
        answer("200 OK", b'{"data": {}}'),
        lambda client: client.graphql("mutation { x }", {"tree": None}, files, told.append),
    )

    head, *parts = request.split(f"--{request.partition('boundary=')[2].splitlines()[0]}")
    assert "Content-Type: multipart/form-data; " in head
    bodies = [part.partition("\r\n\r\n")[2].rstrip() for part in parts[:-1]]
    assert json.loads(bodies[0]) == {"query": "mutation { x }", "variables": {"tree": None}}
    assert json.loads(bodies[1]) == {"0": ["variables.tree"], "1": ["variables.secret.upload"]}
    assert bodies[2:] == ["first", "second"]
    assert sum(told) == len("firstsecond")


def test_a_list_is_read_to_its_last_page():
    def page(ids, cursor):
        results = [{"id": each} for each in ids]
        body = {"data": {"me": {"things": {"results": results, "cursor": cursor}}}}
        return answer("200 OK", json.dumps(body).encode())

    server = Answers(page([1, 2], "next"), page([3], None))
    with closing(server), Client(server.url, "secret") as client:
        found = list(client.listed("query", "me", "things"))

    assert found == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert '"cursor":"next"' in server.requests[1].replace(" ", "")


# Tokens


def test_a_token_may_be_another_one_for_each_request():
    texts = iter(["first", "second"])
    server = Answers(answer("200 OK", b"{}"), answer("200 OK", b"{}"))
    with closing(server), Client(server.url, lambda: next(texts)) as client:
        client.job(1)
        client.job(1)

    assert [
        f"Bearer {text}" in request
        for text, request in zip(["first", "second"], server.requests, strict=True)
    ] == [True, True]


def test_a_token_that_is_refused_says_how_to_get_another(ask):
    body = b'{"errors": [{"reason": "this token is revoked"}]}'

    with pytest.raises(Refused, match=r"^this token is revoked \(`buildsrht login` gets another"):
        ask(answer("401 Unauthorized", body), lambda client: client.job(1))


# Logs


def read_log(ask, answer, offset):
    parts = []
    is_end, request = ask(answer, lambda client: client.read_log("/log", offset, parts.append))
    return b"".join(parts), is_end, request


def test_a_log_is_read_from_an_offset(ask):
    part = answer(
        "206 Partial Content", b"def", Content_Range="bytes 3-5/6", X_Log_Complete="false"
    )

    text, is_end, request = read_log(ask, part, 3)

    assert "Range: bytes=3-\r\n" in request
    assert (text, is_end) == (b"def", False)


def test_a_log_whose_end_we_have_says_so(ask):
    last = answer("206 Partial Content", b"def", X_Log_Complete="true")
    nothing_left = answer("416 Range Not Satisfiable", b'{"errors": []}')

    assert read_log(ask, last, 3)[:2] == (b"def", True)
    assert read_log(ask, nothing_left, 6)[:2] == (b"", True)


@pytest.mark.parametrize("offset", [0, 2, 6])
def test_a_whole_log_instead_of_its_end_does_not_repeat_what_we_have(ask, offset):
    text, _, _ = read_log(ask, answer("200 OK", b"abcdef"), offset)

    assert text == b"abcdef"[offset:]


def test_the_part_of_a_log_that_arrived_before_a_break_is_kept(ask):
    parts = []
    cut = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\n\r\nabc"

    with pytest.raises(ServerAway):
        ask(cut, lambda client: client.read_log("/log", 0, parts.append))
    assert b"".join(parts) == b"abc"


# Artifacts


def artifact(name="out.txt", content=b"hello"):
    return {"name": name, "url": "/out", "sha256": hashlib.sha256(content).hexdigest()}


def test_an_artifact_is_saved_under_its_name(ask, tmp_path):
    kept = artifact()

    path, _ = ask(
        answer("200 OK", b"hello"), lambda client: client.download(kept, tmp_path / "new")
    )

    assert path == tmp_path / "new" / "out.txt"
    assert path.read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (answer("200 OK", b"hallo"), Damaged),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", ServerAway),
        (answer("410 Gone", b'{"errors": [{"reason": "was removed"}]}'), Refused),
    ],
)
def test_a_download_that_fails_leaves_what_was_there(ask, tmp_path, broken, error):
    (tmp_path / "out.txt").write_text("before")

    with pytest.raises(error):
        ask(broken, lambda client: client.download(artifact(), tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "before"


@pytest.mark.parametrize("name", ["../out.txt", "/etc/passwd", "..", "", "a\0b"])
def test_an_artifact_cannot_choose_where_it_is_saved(tmp_path, name):
    with Client("http://127.0.0.1:1", "secret") as client, pytest.raises(Damaged):
        client.download(artifact(name), tmp_path)
