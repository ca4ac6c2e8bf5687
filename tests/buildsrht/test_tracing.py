"""Each request has a number, and is a line of the journal if the operator wants that."""

import logging
import re

import pytest

from buildsrht.tracing import Traced
from tests.heard import lines_of

log = logging.getLogger("a.view")


@pytest.fixture
def heard():
    with lines_of("a.view", "buildsrht.tracing") as lines:
        yield lines


def view(environ, start_response):
    log.info("at work")
    start_response("404 NOT FOUND", [("Content-Type", "text/plain")])
    return [b""]


def ask(path, *, told=False, **headers):
    """The headers of the answer."""
    answered = {}
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "REMOTE_ADDR": "192.0.2.1", **headers}
    Traced(view, told=told)(environ, lambda status, headers: answered.update(headers))
    return answered


def test_a_request_has_a_number_and_what_is_said_of_it_too(heard):
    number = ask("/api/version")["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{16}", number)
    assert heard == [("at work", {"request": number})]


def test_a_proxy_may_give_the_number(heard):
    assert ask("/", HTTP_X_REQUEST_ID="abc-1.2_3")["X-Request-ID"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\nb", "a;b", "é"])
def test_what_is_no_number_is_not_taken_for_one(heard, given):
    assert re.fullmatch("[0-9a-f]{16}", ask("/", HTTP_X_REQUEST_ID=given)["X-Request-ID"])


@pytest.mark.parametrize(
    ("path", "job"),
    [
        ("/api/jobs/17/log", 17),
        ("/~ann/job/17", 17),
        ("/api/jobs/17", 17),
        ("/api/jobs", None),
        ("/api/jobs/17x", None),
        ("/~job/18", None),
    ],
)
def test_what_is_said_of_a_request_for_a_job_is_about_the_job(heard, path, job):
    ask(path)
    ((_, about),) = heard
    assert about.get("job") == job


def test_requests_are_told_if_wanted_without_their_queries(heard):
    ask("/login", told=True, QUERY_STRING="token=secret")
    _, (line, _) = heard
    assert re.fullmatch(r"192\.0\.2\.1 GET /login 404 in \d+ ms", line)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/reset/0123456789abcdef", "/reset/..."),
        ("/artifacts/17/0123456789abcdef/out.tar", "/artifacts/17/.../out.tar"),
        ("//reset//0123456789abcdef", "//reset//..."),
    ],
)
def test_what_lets_in_whoever_knows_it_is_not_told(heard, path, told):
    ask(path, told=True)
    _, (line, _) = heard
    assert line.startswith(f"192.0.2.1 GET {told} 404 in ")


def test_no_address_has_a_secret_in_its_path_but_these(app):
    """By the names of what is variable in it: whoever adds one decides whether it is told."""
    secret = {"secret", "text", "token", "code"}
    found = {rule.rule for rule in app.url_map.iter_rules() if secret & rule.arguments}
    assert found == {"/reset/<text>", "/artifacts/<int:job_id>/<secret>/<name>"}


def test_a_path_cannot_make_a_line_of_its_own(heard):
    ask("/a\nb\x1b[2J\xff", told=True)
    _, (line, _) = heard
    assert line.startswith(r"192.0.2.1 GET /a\nb\x1b[2J\ufffd 404 ")


def test_the_application_gives_every_answer_a_number(client):
    assert client.get("/healthz").headers["X-Request-ID"]
