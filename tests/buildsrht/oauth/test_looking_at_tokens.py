"""What programs may learn of tokens, how they give them back, what the server says of itself."""

import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from buildsrht.services.scopes import SCOPES
from tests.buildsrht.oauth.asking import error_of


@pytest.fixture
def confidential(register):
    return register(name="Server", confidential=True)


@pytest.fixture
def tokens(confidential, allowed, exchange):
    program, secret = confidential
    return exchange(program, allowed(program), client_secret=secret).json


@pytest.fixture
def introspect(client, confidential):
    program, secret = confidential

    def post(token, auth=(str(program.uuid), secret), **fields):
        return client.post("/oauth2/introspect", data={"token": token, **fields}, auth=auth)

    return post


@pytest.fixture
def give_back(client):
    def post(token, program, **fields):
        form = {"token": token, "client_id": str(program.uuid), **fields}
        return client.post("/oauth2/revoke", data=form)

    return post


def test_a_program_with_a_secret_may_ask_about_its_own_tokens(
    introspect, tokens, confidential, owner
):
    access = introspect(tokens["access_token"]).json
    refresh = introspect(tokens["refresh_token"], token_type_hint="access_token").json

    assert access["exp"] - access["iat"] == 3600
    assert refresh["exp"] - refresh["iat"] == 30 * 86400
    for said in (access, refresh):
        assert (said["active"], said["scope"], said["username"]) == (True, "jobs:read", "owner")
        assert (said["client_id"], said["sub"]) == (str(confidential[0].uuid), str(owner.id))
        assert said["iss"] == "http://127.0.0.1:5002"


def test_of_any_other_token_it_learns_nothing(
    backend, introspect, register, tokens_of, token, owner
):
    other, _ = register(name="Other")
    foreign = tokens_of(other)

    for text in (foreign["access_token"], foreign["refresh_token"], token(owner), "x", "\0", "ä"):
        assert introspect(text).json == {"active": False}


def test_a_token_that_has_ended_is_not_active(introspect, tokens, refresh, confidential, give_back):
    program, secret = confidential
    new = refresh(program, tokens["refresh_token"], client_secret=secret).json
    assert introspect(tokens["refresh_token"]).json == {"active": False}

    give_back(new["refresh_token"], program, client_secret=secret)

    for text in (tokens["access_token"], new["access_token"], new["refresh_token"]):
        assert introspect(text).json == {"active": False}


@pytest.mark.parametrize("auth", [None, ("nobody", "x"), ("", "")])
def test_nobody_else_may_ask(introspect, tokens, auth):
    assert error_of(introspect(tokens["access_token"], auth=auth)) == "invalid_client"


def test_a_public_program_may_not_ask(client, program, tokens_of):
    form = {"token": tokens_of(program)["access_token"], "client_id": str(program.uuid)}

    assert error_of(client.post("/oauth2/introspect", data=form)) == "invalid_client"


def test_an_access_token_is_given_back_alone(give_back, tokens_of, program, status_with, refresh):
    tokens = tokens_of(program)

    for _ in range(2):
        assert give_back(tokens["access_token"], program).status_code == 200

    assert status_with(tokens["access_token"]) == 401
    assert refresh(program, tokens["refresh_token"]).status_code == 200


def test_with_a_refresh_token_goes_all_that_was_allowed(
    give_back, tokens_of, program, status_with, refresh
):
    tokens = tokens_of(program)

    assert give_back(tokens["refresh_token"], program).status_code == 200

    assert status_with(tokens["access_token"]) == 401
    assert error_of(refresh(program, tokens["refresh_token"])) == "invalid_grant"


def test_nobody_gives_back_what_is_not_theirs(
    give_back, register, tokens_of, program, status_with, token, owner
):
    other, _ = register(name="Other")
    tokens, by_hand = tokens_of(program), token(owner)

    for text in (tokens["access_token"], tokens["refresh_token"], by_hand, "x", "\0"):
        assert give_back(text, other).status_code == 200

    assert status_with(tokens["access_token"]) == 200
    assert status_with(by_hand) == 200


@pytest.mark.parametrize("address", ["/oauth2/introspect", "/oauth2/revoke"])
def test_a_question_without_a_token_is_no_question(client, confidential, address):
    program, secret = confidential

    answer = client.post(address, auth=(str(program.uuid), secret))

    assert error_of(answer) == "invalid_request"


def test_the_server_says_what_it_can_do_and_where(client, app):
    said = client.get("/.well-known/oauth-authorization-server").json

    origin = said["issuer"]
    routes = {rule.rule for rule in app.url_map.iter_rules()}
    for name, address in said.items():
        if name.endswith("_endpoint"):
            assert address.removeprefix(origin) in routes, name
    assert said["scopes_supported"] == list(SCOPES)
    secure = {
        name: value.replace("http://127.0.0.1:5002", "https://builds.example.org")
        if isinstance(value, str)
        else value
        for name, value in said.items()
    }
    AuthorizationServerMetadata(secure).validate()
