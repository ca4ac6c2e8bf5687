"""Who is let in: tokens, the two forms of their header, and the challenge to everybody else."""

import pytest
from sqlalchemy import func, select, update

from buildsrht.models import JobStatus, Token, Visibility
from buildsrht.services import jobs, tokens
from tests.build_host import claim, finish


@pytest.fixture
def ask(client):
    """Ask for something that needs a token, with this header."""

    def get(header):
        return client.get("/api/jobs", headers={"Authorization": header})

    return get


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "token", "Token", "tOkEn"])
def test_both_forms_of_the_header_open_the_door_in_any_case(ask, token, owner, scheme):
    assert ask(f"{scheme} {token(owner)}").status_code == 200


def test_without_a_token_the_challenge_says_what_is_wanted(client):
    response = client.get("/api/jobs")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="buildsrht"'
    reason = "this needs a token: send `Authorization: Bearer ...`"
    assert response.json == {"errors": [{"reason": reason}]}


@pytest.mark.parametrize(
    "header", ["Basic b3duZXI6c2VjcmV0", "Bearer", "token", "Digest x", "{token}", "Bearer:{token}"]
)
def test_another_scheme_is_refused(ask, token, owner, header):
    response = ask(header.format(token=token(owner)))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="buildsrht"'
    assert response.json["errors"]


def assert_invalid(response):
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    reason = "the token is unknown, expired or revoked"
    assert response.json == {"errors": [{"reason": reason}]}


@pytest.mark.parametrize("text", ["bsrht_unknown", "x", "ä", "a b", "'; --", "%00"])
def test_an_unknown_token_is_refused(ask, text):
    assert_invalid(ask(f"Bearer {text}"))


def test_an_expired_token_is_refused(ask, backend, token, owner):
    text = token(owner)
    with backend.transaction() as session:
        session.execute(update(Token).values(expires=func.now()))

    assert_invalid(ask(f"Bearer {text}"))


def test_a_revoked_token_is_refused(ask, backend, token, owner):
    text = token(owner)
    tokens.revoke_token(backend, text)

    assert_invalid(ask(f"Bearer {text}"))


def test_the_stored_hash_is_not_a_token(ask, backend, token, owner):
    token(owner)
    with backend.transaction() as session:
        [digest] = session.scalars(select(Token.hash))

    assert_invalid(ask(f"Bearer {digest.hex()}"))


def test_a_token_without_the_scope_is_told_which_one_is_missing(client_of, owner):
    response = client_of(owner, "jobs:read").post("/api/jobs", json={})

    assert response.status_code == 403
    assert response.json == {"errors": [{"reason": "this needs a token with the scope jobs:write"}]}
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="buildsrht", error="insufficient_scope", scope="jobs:write"'
    )


def test_writing_implies_reading(client_of, owner):
    assert client_of(owner, "jobs:write").get("/api/jobs").status_code == 200


@pytest.mark.parametrize("header", ["Bearer unknown", "Basic x", "Bearer", ""])
def test_where_none_is_needed_a_bad_token_is_refused_all_the_same(client, make_job, header):
    make_job()
    path = "/api/jobs/1/manifest"
    assert client.get(path).status_code == 200

    response = client.get(path, headers={"Authorization": header})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")


# --- grants ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "job", "log", "submit"),
    [
        ("jobs:read", 200, 200, 403),
        ("jobs:write", 200, 200, 400),
        ("JOBS:RO", 200, 403, 403),
        ("JOBS:RW", 200, 403, 400),
        ("LOGS:RO", 403, 200, 403),
        ("logs:read", 403, 200, 403),
        ("profile:write", 403, 403, 403),
        ("SECRETS:RW", 403, 403, 403),
    ],
)
def test_each_area_is_opened_by_its_own_words(
    client_of, owner, make_job, write_log, scope, job, log, submit
):
    private = make_job(visibility=Visibility.PRIVATE)
    write_log(private, None, b"said")
    client = client_of(owner, scope)

    assert client.get(f"/api/jobs/{private.id}").status_code == job
    assert client.get(f"/api/jobs/{private.id}/manifest").status_code == job
    assert client.get(f"/query/log/{private.id}/log").status_code == log
    assert client.post("/api/jobs", json={}).status_code == submit


@pytest.fixture
def run(backend, make_job):
    return claim(backend, make_job().id, "host-1")


def test_a_token_of_a_job_opens_what_it_was_granted_while_the_job_runs(ask, client, backend, run):
    text = tokens.create_job_token(backend, run, ["JOBS:RO"])

    assert ask(f"Bearer {text}").json["total"] == 1
    refused = client.post("/api/jobs", headers={"Authorization": f"Bearer {text}"}, json={})
    assert refused.status_code == 403

    finish(backend, run, JobStatus.SUCCESS)

    assert_invalid(ask(f"Bearer {text}"))


def test_a_token_of_a_job_is_refused_as_soon_as_the_job_is_cancelled(ask, backend, run, owner):
    text = tokens.create_job_token(backend, run, ["JOBS:RO"])

    jobs.cancel(backend, run.job_id, owner)

    assert_invalid(ask(f"Bearer {text}"))


# --- browsers -----------------------------------------------------------------------------------


def test_who_is_signed_in_reads_without_a_token(browse, owner, make_job):
    make_job("running", visibility=Visibility.PRIVATE)

    assert browse(owner).open("/api/jobs/1").status_code == 200
    assert browse(owner).client.head("/api/jobs/1").status_code == 200
    assert browse().open("/api/jobs/1").status_code == 401


def test_who_is_signed_in_changes_nothing_without_a_token(browse, owner, make_job, fetch):
    make_job("pending")

    response = browse(owner).client.post("/api/jobs/1/start")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="buildsrht"'
    assert fetch(1).status == JobStatus.PENDING


def test_of_a_token_and_a_sign_in_the_token_counts(browse, owner, stranger, token, make_job):
    make_job("running", visibility=Visibility.PRIVATE)
    browser = browse(owner)

    def status(text):
        return browser.open("/api/jobs/1", headers={"Authorization": text}).status_code

    assert status(f"Bearer {token(stranger)}") == 404
    assert status(f"Bearer {token(owner, 'profile:read')}") == 403
    assert status("Bearer unknown") == 401


def test_who_has_signed_out_reads_no_more(browse, owner, backend, make_job):
    make_job("running", visibility=Visibility.PRIVATE)
    browser = browse(owner)

    browser.open("/account")
    browser.send("/logout")

    assert browser.client.get("/query/log/1/log").status_code == 404
