"""A program sends its user's browser here, and gets tokens for what the user decides (RFC 6749,
section 4.1, with RFC 7636 and RFC 9207)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from buildsrht.models import AuthorizationCode
from buildsrht.services import clients
from tests.buildsrht.oauth.asking import (
    CHALLENGE,
    REDIRECT_URI,
    VERIFIER,
    answer_of,
    error_of,
)


def test_the_page_says_who_asks_and_what_for_in_words(ask, register):
    program, _ = register(description="Shows builds", url="https://app.example.org/")

    browser = ask(program, scope="jobs:write")

    assert browser.page.status_code == 200
    for words in (
        *("May Dashboard act for you?", "Shows builds", "~stranger", "https://app.example.org/"),
        *("submit, start, cancel and change jobs", "read the logs", "give your secrets to jobs"),
        REDIRECT_URI,
    ):
        assert words in browser.text
    assert "add, share and delete" not in browser.text


def test_who_allows_it_sends_the_program_a_code(ask, program):
    page = ask(program).send("", press="decision=allow")

    answer, place = answer_of(page)
    assert place == REDIRECT_URI
    assert answer.pop("code").startswith("bsrht_code_")
    assert answer == {"state": "a state & more", "iss": "http://127.0.0.1:5002"}


@pytest.mark.parametrize("fields", [{"decision": "deny"}, {}, {"decision": "ALLOW"}])
def test_whoever_does_not_allow_it_does_not(ask, program, row_counts, fields):
    answer, place = answer_of(ask(program).send("", **fields))

    assert place == REDIRECT_URI
    assert answer.pop("error_description")
    assert answer == {
        "error": "access_denied",
        "state": "a state & more",
        "iss": "http://127.0.0.1:5002",
    }
    assert row_counts()["oauth_grant"] == 0


def test_the_program_gets_tokens_for_the_code(allowed, exchange, program, status_with):
    answer = exchange(program, allowed(program))

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    tokens = answer.json
    assert tokens.keys() == {
        *("access_token", "refresh_token", "token_type", "expires_in", "scope"),
    }
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "jobs:read")
    assert status_with(tokens["access_token"]) == 200
    assert status_with(tokens["access_token"], "POST") == 403
    assert status_with(tokens["refresh_token"]) == 401


def test_who_is_not_signed_in_comes_back_to_the_same_request(ask, program, backend):
    browser = ask(program, user=None)

    assert browser.client.get("/oauth2/clients").status_code == 303
    return_to = browser.form("/login").fields["return_to"]
    assert return_to.startswith("/oauth2/authorize?")
    assert f"code_challenge={CHALLENGE}" in return_to


# --- requests that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"scope": None}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "fly"}, "invalid_scope"),
        ({"scope": 'jobs:read "ä\\'}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": "ä" * 43}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "s256"}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ],
)
def test_the_program_learns_what_is_wrong_with_its_request(ask, program, fields, error):
    answer, place = answer_of(ask(program, **fields).page)

    assert place == REDIRECT_URI
    assert (answer["error"], answer["state"]) == (error, "a state & more")
    assert answer["iss"] == "http://127.0.0.1:5002"


@pytest.mark.parametrize("fields", [{"scope": "fly"}, {"response_type": "token"}])
def test_nobody_is_sent_to_any_address_before_they_sign_in(ask, program, fields):
    """A link to this service with a mistake in it leads nobody on."""
    page = ask(program, user=None, **fields).page

    assert page.status_code == 200
    assert page.request.path == "/login"


@pytest.mark.parametrize(
    "fields",
    [
        {"client_id": None},
        {"client_id": "nobody"},
        {"client_id": "\0"},
        {"client_id": "00000000-0000-0000-0000-000000000000"},
        {"client_id": "buildsrht-cli", "redirect_uri": "http://127.0.0.1/"},
        {"redirect_uri": None},
        {"redirect_uri": ""},
        {"redirect_uri": 'https://evil.example.org/"ä\\'},
        {"response_type": 'ä"\\', "redirect_uri": "https://evil.example.org/"},
        {"response_type": 'ä"\\'},
        {"scope": "fly", "redirect_uri": "https://evil.example.org/"},
    ],
)
def test_nobody_is_sent_to_an_address_that_is_not_the_programs(ask, program, fields):
    page = ask(program, **fields).page

    assert page.status_code == 400
    assert page.content_type.startswith("text/html")
    assert "Location" not in page.headers


@pytest.mark.parametrize(
    "uri",
    [
        *("https://app.example.org/back/", "https://app.example.org/back?x=1"),
        *("https://app.example.org/back#x", "https://app.example.org/", "https://app.example.org"),
        *("https://app.example.org:443/back", "https://APP.example.org/back"),
        *("http://app.example.org/back", "//app.example.org/back", "/back"),
        *("https://app.example.org/back/../evil", "https://app.example.org/%62ack"),
        *("https://app.example.org/back\n", " https://app.example.org/back"),
        *("https://app.example.org@evil.example.org/back", "https://evil.example.org/back"),
        *("https://app.example.org.evil.example.org/back", "javascript:alert(1)//back"),
        *("http://127.0.0.1/back", "http://localhost/back"),
    ],
)
def test_addresses_are_compared_to_the_letter(ask, program, uri):
    assert ask(program, redirect_uri=uri).page.status_code == 400


@pytest.mark.parametrize(
    ("registered", "asked", "is_good"),
    [
        ("http://127.0.0.1/back", "http://127.0.0.1:51234/back", True),
        ("http://127.0.0.1:8080/back", "http://127.0.0.1:51234/back", True),
        ("http://127.0.0.1:8080/back", "http://127.0.0.1/back", True),
        ("http://[::1]/back?x=1", "http://[::1]:51234/back?x=1", True),
        ("http://localhost/", "http://localhost:1/", True),
        ("http://127.0.0.1", "http://127.0.0.1:51234", True),
        ("http://127.0.0.1/back", "http://127.0.0.1:51234/", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:51234/back/x", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:51234/back?x", False),
        ("http://127.0.0.1/back", "http://localhost:51234/back", False),
        ("http://127.0.0.1/back", "https://127.0.0.1:51234/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.2/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:0/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:99999/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:80:80/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:80@evil.example.org/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1@evil.example.org/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1.evil.example.org/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:80\\@evil.example.org/back", False),
        ("http://127.0.0.1/back", "http://127.0.0.1:80/back#x", False),
        ("https://app.example.org/back", "https://app.example.org:8443/back", False),
    ],
)
def test_of_a_loopback_address_the_port_may_be_any(register, registered, asked, is_good):
    client, _ = register(redirect_uris=[registered])

    assert clients.program_of(client).may_be_answered_at(asked) is is_good


def test_a_program_on_the_users_machine_is_answered_at_its_port(ask, register):
    program, _ = register(redirect_uris=["http://127.0.0.1/back?from=us"])
    uri = "http://127.0.0.1:51234/back?from=us"

    browser = ask(program, redirect_uri=uri)
    csp = browser.page.headers["Content-Security-Policy"]
    answer, place = answer_of(browser.send("", press="decision=allow"))

    assert "form-action 'self' http://127.0.0.1:51234;" in csp
    assert (place, answer["from"]) == ("http://127.0.0.1:51234/back", "us")


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "scope", "state", "response_type"])
def test_a_parameter_that_is_there_twice_is_refused(ask, program, name):
    browser = ask(program)
    twice = f"{browser.path}&{name}=x"

    page = browser.client.get(twice)

    assert page.status_code == 400 or "error=invalid_request" in page.headers["Location"]
    assert not page.headers.get("Location", "").startswith("x")


def test_a_decision_cannot_be_made_by_another_site(ask, program, row_counts):
    browser = ask(program)

    for csrf in ("", "x", "ä"):
        page = browser.send("", press="decision=allow", csrf=csrf)
        assert page.status_code == 403
        browser.page = browser.client.get(browser.path)

    assert row_counts()["oauth_grant"] == 0


def test_what_is_in_the_form_does_not_change_what_was_asked(ask, register, program):
    """The page showed what its address says."""
    other, _ = register(name="Other", redirect_uris=["https://evil.example.org/"])

    page = ask(program).send(
        "",
        press="decision=allow",
        client_id=str(other.uuid),
        redirect_uri="https://evil.example.org/",
        scope="jobs:write",
    )

    assert answer_of(page)[1] == REDIRECT_URI


def test_names_that_are_markup_are_text(ask, register, browse, stranger):
    markup = "<script>alert(1)</script>\"'><img src=x>"
    program, _ = register(name=markup, description=markup)

    for browser in (ask(program), browse(stranger)):
        if browser.path == "":
            browser.open("/oauth2/clients")
        assert markup in browser.text
        assert "<script>" not in browser.page.text
        assert "<img" not in browser.page.text


def test_the_page_cannot_be_framed_or_run_what_is_in_it(ask, program):
    headers = ask(program).page.headers

    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


# --- codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"code": None}, "invalid_request"),
        ({"code": "bsrht_code_unknown"}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_request"),
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_request"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": "ä" * 43}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"redirect_uri": REDIRECT_URI + "/"}, "invalid_grant"),
        ({"client_id": None}, "invalid_client"),
        ({"client_id": "buildsrht-cli"}, "unauthorized_client"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": 'ä"\\'}, "unsupported_grant_type"),
        ({"grant_type": None}, "unsupported_grant_type"),
    ],
)
def test_a_code_alone_is_worth_nothing_and_a_mistake_does_not_spend_it(
    allowed, exchange, program, fields, error
):
    code = allowed(program)

    answer = exchange(program, **{"code": code, **fields})

    assert error_of(answer) == error
    assert exchange(program, code).status_code == 200


def test_a_code_of_one_program_is_nothing_to_another(allowed, exchange, program, register):
    other, _ = register(name="Other")
    code = allowed(program)

    assert error_of(exchange(other, code)) == "invalid_grant"
    assert exchange(program, code).status_code == 200


def test_a_code_that_comes_twice_ends_all_that_came_of_it(
    allowed, exchange, refresh, program, status_with
):
    code = allowed(program)
    tokens = exchange(program, code).json

    assert error_of(exchange(program, code)) == "invalid_grant"

    assert status_with(tokens["access_token"]) == 401
    assert error_of(refresh(program, tokens["refresh_token"])) == "invalid_grant"


def test_of_two_that_bring_a_code_at_once_neither_has_tokens_in_the_end(
    app, allowed, program, status_with
):
    form = {
        "grant_type": "authorization_code",
        "client_id": str(program.uuid),
        "code": allowed(program),
        "redirect_uri": REDIRECT_URI,
        "code_verifier": VERIFIER,
    }

    def post(_):
        return app.test_client().post("/oauth2/access-token", data=form)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    [won] = [answer.json for answer in answers if answer.status_code == 200]
    assert status_with(won["access_token"]) == 401


def test_a_code_is_good_for_a_moment(backend, allowed, exchange, program):
    code = allowed(program)
    with backend.transaction() as session:
        session.execute(update(AuthorizationCode).values(expires=func.now()))

    assert error_of(exchange(program, code)) == "invalid_grant"


def test_parameters_of_a_program_are_read_from_its_form_only(client, program, allowed):
    query = {
        "grant_type": "authorization_code",
        "client_id": str(program.uuid),
        "code": allowed(program),
        "redirect_uri": REDIRECT_URI,
        "code_verifier": VERIFIER,
    }

    assert client.post("/oauth2/access-token", query_string=query).status_code == 400
    twice = {**query, "client_id": [query["client_id"], "x"]}
    assert client.post("/oauth2/access-token", data=twice).json["error"] == "invalid_request"


# --- programs with a secret -----------------------------------------------------------------------


@pytest.fixture
def confidential(register):
    return register(confidential=True)


@pytest.mark.parametrize("how", ["basic", "post"])
def test_a_program_with_a_secret_proves_who_it_is(allowed, exchange, refresh, confidential, how):
    program, secret = confidential
    proof = {"auth": (str(program.uuid), secret)} if how == "basic" else {"client_secret": secret}

    answer = exchange(program, allowed(program), **proof)

    assert answer.status_code == 200, answer.text
    assert refresh(program, answer.json["refresh_token"], **proof).status_code == 200


@pytest.mark.parametrize("text", ["", "wrong", "{hash}", "\0", "ä"])
def test_without_its_secret_nobody_is_the_program(allowed, exchange, confidential, text):
    program, secret = confidential
    code = allowed(program)
    wrong = text.format(hash=program.secret_hash.hex())

    assert error_of(exchange(program, code)) == "invalid_client"
    assert error_of(exchange(program, code, client_secret=wrong)) == "invalid_client"
    refused = exchange(program, code, auth=(str(program.uuid), wrong))
    assert (refused.status_code, error_of(refused)) == (401, "invalid_client")
    assert "WWW-Authenticate" in refused.headers
    assert exchange(program, code, client_secret=secret).status_code == 200


@pytest.mark.parametrize("header", ["Basic", "Basic /w==", "Basic !", "Basic " + "A" * 9, "Bearer"])
def test_a_header_that_is_no_proof_is_refused(client, header):
    form = {"grant_type": "refresh_token", "refresh_token": "x"}

    answer = client.post("/oauth2/access-token", data=form, headers={"Authorization": header})

    assert error_of(answer) == "invalid_client"


def test_pkce_is_required_of_a_program_with_a_secret_too(ask, exchange, allowed, confidential):
    program, secret = confidential

    refused, _ = answer_of(ask(program, code_challenge=None, code_challenge_method=None).page)
    assert refused["error"] == "invalid_request"
    answer = exchange(program, allowed(program), client_secret=secret, code_verifier=None)
    assert error_of(answer) == "invalid_request"


def test_the_old_secret_is_worth_nothing_when_there_is_a_new_one(
    backend, stranger, allowed, exchange, confidential
):
    program, old = confidential
    new = clients.new_client_secret(backend, stranger, program.id)
    code = allowed(program)

    assert error_of(exchange(program, code, client_secret=old)) == "invalid_client"
    assert exchange(program, code, client_secret=new).status_code == 200


def test_tokens_end_with_their_program(backend, stranger, tokens_of, program, status_with, refresh):
    tokens = tokens_of(program)

    clients.delete_client(backend, stranger, program.id)

    assert status_with(tokens["access_token"]) == 401
    assert error_of(refresh(program, tokens["refresh_token"])) == "invalid_client"


def test_an_access_token_is_short_lived(backend, tokens_of, program):
    assert tokens_of(program)["expires_in"] == backend.config.oauth.access_lifetime
    assert timedelta(seconds=backend.config.oauth.access_lifetime) == timedelta(hours=1)
