"""`POST /hooks/:uuid`: who is let in, what is kept, and what is answered."""

from dataclasses import replace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from buildsrht.models import Forge, Push
from buildsrht.services import hooks as hook_service
from buildsrht.services.hooks import NewHook
from tests.buildsrht.hooks.reports import (
    COMMIT,
    GONE,
    REPOSITORY,
    SOURCEHUT_KEY,
    SOURCEHUT_PUBLIC_KEY,
    encoded,
    gitea_headers,
    github_headers,
    github_push,
    github_request,
    gitlab_headers,
    gitlab_push,
    gitlab_signed_headers,
    sourcehut_headers,
    sourcehut_push,
)

FORGES = [
    pytest.param("github", github_push, github_headers, id="github"),
    pytest.param("gitea", github_push, gitea_headers, id="gitea"),
    pytest.param("gitlab", gitlab_push, gitlab_headers, id="gitlab"),
    pytest.param("gitlab", gitlab_push, gitlab_signed_headers, id="gitlab-signed"),
    pytest.param("sourcehut", sourcehut_push, sourcehut_headers, id="sourcehut"),
]


@pytest.fixture
def make_hook(backend, owner):
    def make(forge="github", **options):
        key = SOURCEHUT_PUBLIC_KEY if forge == "sourcehut" else None
        wanted = NewHook(Forge(forge), REPOSITORY, public_key=key, **options)
        hook, proof = hook_service.create_hook(backend, owner.name, wanted)
        return hook, SOURCEHUT_KEY if key else proof

    return make


@pytest.fixture
def send(client):
    def post(hook, body, headers, content_type="application/json"):
        path = f"/hooks/{hook.uuid}"
        return client.post(path, data=body, headers=headers, content_type=content_type)

    return post


@pytest.fixture
def fetch_push(backend):
    def fetch(push_id):
        with backend.transaction() as session:
            return session.get_one(Push, push_id)

    return fetch


@pytest.mark.parametrize(("forge", "payload", "headers"), FORGES)
def test_a_genuine_push_is_kept_and_queued(
    make_hook, send, fetch_push, backend, forge, payload, headers
):
    hook, key = make_hook(forge)
    body = encoded(payload())

    answer = send(hook, body, headers(key, body))

    assert (answer.status_code, answer.json) == (202, {"status": "accepted", "push": 1})
    assert fetch_push(1).event == {
        "updates": [{"ref": "refs/heads/main", "object": COMMIT}],
        "request": None,
        "head": None,
    }
    assert backend.pushes.enqueued_ids() == {1}


@pytest.mark.parametrize(("forge", "payload", "headers"), FORGES)
def test_the_same_report_again_is_answered_the_same_and_builds_once(
    make_hook, send, row_counts, forge, payload, headers
):
    hook, key = make_hook(forge)
    body = encoded(payload())
    first = send(hook, body, headers(key, body))
    after_the_first = row_counts()

    again = send(hook, body, headers(key, body))

    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert row_counts() == after_the_first


@pytest.mark.parametrize(("forge", "payload", "headers"), FORGES)
def test_a_report_with_the_secret_of_another_hook_is_refused_and_nothing_is_kept(
    make_hook, send, row_counts, backend, forge, payload, headers
):
    hook, _ = make_hook(forge)
    _, other = make_hook("gitlab")
    if forge == "sourcehut":
        other = Ed25519PrivateKey.generate()
    body = encoded(payload())
    before = row_counts()

    answer = send(hook, body, headers(other, body))

    assert answer.status_code == 401
    assert answer.json["errors"][0]["reason"]
    assert row_counts() == before
    assert backend.pushes.enqueued_ids() == set()


@pytest.mark.parametrize(("forge", "payload", "headers"), FORGES)
def test_a_report_without_a_signature_is_refused(
    make_hook, send, row_counts, forge, payload, headers
):
    hook, _ = make_hook(forge)
    before = row_counts()

    answer = send(hook, encoded(payload()), {"X-GitHub-Event": "push"})

    assert (answer.status_code, row_counts()) == (401, before)


def test_a_token_is_neither_needed_nor_enough(make_hook, client_of, owner, row_counts):
    hook, _ = make_hook()
    client = client_of(owner)
    before = row_counts()

    assert client.post(f"/hooks/{hook.uuid}", json=github_push()).status_code == 401
    assert row_counts() == before


@pytest.mark.parametrize("path", [f"/hooks/{UUID(int=1)}", "/hooks/1", "/hooks/", "/hooks/x\0"])
def test_a_hook_that_there_is_not_is_not_found(client, path):
    answer = client.post(path, json=github_push())

    assert answer.status_code == 404
    assert answer.json["errors"]


def test_a_hook_is_only_for_reports(make_hook, client):
    hook, _ = make_hook()

    assert client.get(f"/hooks/{hook.uuid}").status_code == 405


@pytest.mark.parametrize(
    ("document", "event", "reason"),
    [
        ({"zen": "Keep it simple.", "hook_id": 1}, "ping", "'ping' is not built"),
        (github_push(commit=GONE), "push", "the ref was deleted"),
        (github_request(), "pull_request", "this hook does not build pull requests"),
    ],
)
def test_what_is_not_built_is_answered_with_the_reason_and_not_kept(
    make_hook, send, row_counts, document, event, reason
):
    hook, key = make_hook()
    body = encoded(document)
    before = row_counts()

    answer = send(hook, body, github_headers(key, body, event))

    assert (answer.status_code, answer.json) == (200, {"status": "ignored", "reason": reason})
    assert row_counts() == before


def test_a_flood_is_answered_so_that_no_forge_gives_up_and_it_can_be_sent_again(
    make_hook, send, row_counts, backend, monkeypatch
):
    limits = replace(backend.config.limits, pushes=1)
    flooded = replace(backend, config=replace(backend.config, limits=limits))
    monkeypatch.setattr("buildsrht.api.hooks.current_backend", lambda: flooded)
    hook, key = make_hook()
    bodies = [encoded(github_push(number=number)) for number in (1, 2)]

    answers = [send(hook, body, github_headers(key, body)) for body in bodies]

    assert [answer.status_code for answer in answers] == [202, 200]
    reason = "this hook has had 1 within an hour, which is the most; send it again later"
    assert answers[1].json == {"status": "ignored", "reason": reason}
    assert row_counts()["push"] == 1


def test_a_pull_request_is_kept_as_one(make_hook, send, fetch_push):
    hook, key = make_hook(pull_requests=True)
    body = encoded(github_request())

    answer = send(hook, body, github_headers(key, body, "pull_request"))

    assert answer.status_code == 202
    assert fetch_push(answer.json["push"]).event["request"] == 12


def test_what_is_kept_of_a_report_is_what_is_needed(make_hook, send, fetch_push):
    hook, key = make_hook()
    body = encoded(github_push(commits=[{"author": {"email": "ada@example.org"}}]))

    send(hook, body, github_headers(key, body))

    assert "ada@" not in str(fetch_push(1).event)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"payload=%7B%7D", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "application/json", 400),
        (b"\xff", "application/json", 400),
        (encoded(github_push(commit="x")), "application/json", 400),
        (encoded(github_push("refs/heads/\ud800")), "application/json", 400),
        (encoded(github_push(repository={"full_name": "\udfff"})), "application/json", 400),
    ],
)
def test_a_genuine_report_that_makes_no_sense_is_refused_with_the_reason(
    make_hook, send, row_counts, body, content_type, status
):
    hook, key = make_hook()
    before = row_counts()

    answer = send(hook, body, github_headers(key, body), content_type)

    assert answer.status_code == status
    assert answer.json["errors"][0]["reason"]
    assert row_counts() == before


def test_a_report_above_the_limit_is_refused(make_hook, send, backend, row_counts):
    hook, key = make_hook()
    body = encoded(github_push(padding="x" * backend.config.limits.request))
    before = row_counts()

    answer = send(hook, body, github_headers(key, body))

    assert (answer.status_code, row_counts()) == (413, before)
