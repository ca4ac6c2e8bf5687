"""Programs that ask for leave, and a user who decides."""

import pytest

from buildsrht.services import clients
from tests.buildsrht.oauth.asking import CHALLENGE, REDIRECT_URI, VERIFIER, answer_of


@pytest.fixture
def register(backend, stranger):
    """A program of the stranger's, and its secret if it has one: `register(confidential=True)`."""

    def make(name="Dashboard", redirect_uris=(REDIRECT_URI,), **fields):
        return clients.register_client(
            backend, stranger, name=name, redirect_uris=redirect_uris, **fields
        )

    return make


@pytest.fixture
def program(register):
    """A public one."""
    return register()[0]


@pytest.fixture
def ask(browse, owner):
    """The owner's browser at the page that the program has sent it to; fields set to None are left
    out: `ask(program, scope=None).page`."""

    def ask(program, user=owner, **fields):
        asked = {
            "response_type": "code",
            "client_id": str(program.uuid),
            "redirect_uri": REDIRECT_URI,
            "scope": "jobs:read",
            "state": "a state & more",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **fields,
        }
        browser = browse(user)
        sent = {name: value for name, value in asked.items() if value is not None}
        browser.open("/oauth2/authorize", query_string=sent)
        browser.path = browser.page.request.full_path
        return browser

    return ask


@pytest.fixture
def allowed(ask):
    """The code that the program gets when the owner allows it what it asks."""

    def allowed(program, **fields):
        page = ask(program, **fields).send("", press="decision=allow")
        return answer_of(page)[0]["code"]

    return allowed


@pytest.fixture
def exchange(client):
    """What a program gets for a code."""

    def post(program, code, auth=None, **fields):
        form = {
            "grant_type": "authorization_code",
            "client_id": str(program.uuid),
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
            **fields,
        }
        sent = {name: value for name, value in form.items() if value is not None}
        return client.post("/oauth2/access-token", data=sent, auth=auth)

    return post


@pytest.fixture
def refresh(client):
    def post(program, text, auth=None, **fields):
        form = {"grant_type": "refresh_token", "refresh_token": text, **fields}
        if program:
            form["client_id"] = str(program.uuid)
        return client.post("/oauth2/access-token", data=form, auth=auth)

    return post


@pytest.fixture
def tokens_of(allowed, exchange):
    """The tokens of a program that the owner has allowed something."""

    def tokens_of(program, **fields):
        return exchange(program, allowed(program, **fields)).json

    return tokens_of


@pytest.fixture
def status_with(client):
    """What the API says to this access token."""

    def status(token, method="GET"):
        header = {"Authorization": f"Bearer {token}"}
        body = {} if method == "POST" else None
        return client.open("/api/jobs", method=method, headers=header, json=body).status_code

    return status
