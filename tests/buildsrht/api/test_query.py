"""`POST /query`: GraphQL over HTTP, from the token to the shape of an answer."""

import pytest


def ask(client, query, **request):
    return client.post("/query", json={"query": query, **request})


def test_a_query_is_answered(client_of, owner):
    response = ask(client_of(owner), "{ version { major settings { sshUser } } me { username } }")

    assert response.status_code == 200
    assert response.json == {
        "data": {
            "version": {"major": 1, "settings": {"sshUser": "builds"}},
            "me": {"username": "owner"},
        }
    }


def test_whoever_brings_no_token_is_told_so_as_graphql_tells_it(client):
    response = ask(client, "{ version { major } }")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert response.json["errors"][0]["extensions"] == {"code": "UNAUTHORIZED"}


def test_a_field_needs_its_grant(client_of, owner):
    response = ask(client_of(owner, "JOBS:RO"), "{ me { username } }")

    assert response.status_code == 200
    assert response.json == {
        "data": None,
        "errors": [
            {
                "message": "Query.me needs a token with PROFILE:RO",
                "path": ["me"],
                "locations": [{"line": 1, "column": 3}],
                "extensions": {"code": "FORBIDDEN", "grant": "PROFILE:RO"},
            }
        ],
    }


@pytest.mark.parametrize(
    "body",
    [[], [{"query": "{ version { major } }"}], {}, {"query": 1}, {"query": "{", "variables": 1}],
)
def test_what_is_no_request_is_refused(client_of, owner, body):
    response = client_of(owner).post("/query", json=body)

    assert response.status_code == 400
    assert response.json["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
