"""Who is let in: tokens, the two forms of their header, and the challenge to everybody else."""

import pytest
from sqlalchemy import func, select, update

from buildsrht.models import Token
from buildsrht.services import tokens


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
