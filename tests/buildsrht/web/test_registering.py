"""To make oneself an account, where the operator lets people do that."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from buildsrht import serving
from buildsrht.models import User
from buildsrht.services import accounts

PASSWORD = "correct horse battery"
FILLED = {"name": "ada", "email": "ada@example.org", "password": PASSWORD, "again": PASSWORD}


@pytest.fixture
def is_open(app, backend):
    """The operator lets people register."""
    web = replace(backend.config.web, registration=True)
    serving.install(app, replace(backend, config=replace(backend.config, web=web)))


@pytest.fixture
def register(is_open, browse):
    """A browser in which somebody has tried to: `register(name="bob")`."""

    def register(**fields):
        browser = browse()
        browser.open("/register")
        browser.send("/register", **{**FILLED, **fields})
        return browser

    return register


def count_users(backend):
    with backend.transaction() as session:
        return session.scalar(select(func.count(User.id)))


def test_who_registers_has_an_account_and_is_signed_in(backend, register):
    browser = register(name=" ada ", email=" ada@example.org ")

    assert (browser.path, browser.page.status_code) == ("/", 200)
    assert "~ada" in browser.text
    user = accounts.find_by_password(backend, "ada", PASSWORD)
    assert (user.email, user.admin) == ("ada@example.org", False)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Ada"}, "must be 1 to 63 of a-z"),
        ({"name": ""}, "must be 1 to 63 of a-z"),
        ({"name": "bob"}, "'bob' is somebody's already"),
        ({"name": "<b>x"}, "must be 1 to 63 of a-z"),
        ({"email": ""}, "is no address such as"),
        ({"email": "a, b@example.org"}, "is no address such as"),
        ({"email": "BOB@example.org"}, "'BOB@example.org' is somebody's already"),
        ({"password": "nine char", "again": "nine char"}, "must have 10 to 1024 characters"),
        ({"again": PASSWORD + "x"}, "is not the same"),
        ({"name": "a\0da"}, "may not contain a NUL character"),
    ],
)
def test_what_cannot_be_is_said_at_its_field_and_what_was_typed_is_kept(
    backend, register, fields, said
):
    accounts.create_user(backend, "bob", "bob@example.org")

    browser = register(**fields)

    assert browser.page.status_code == 400
    assert said in browser.text
    assert "<b>x" not in browser.page.text
    assert count_users(backend) == 1
    assert browser.client.get_cookie("buildsrht") is None
    kept = {**FILLED, **fields}
    assert browser.form("/register").fields["email"] == kept["email"]
    assert browser.form("/register").fields["password"] == ""
    assert PASSWORD not in browser.page.text


def test_all_that_is_wrong_is_said_at_once(register):
    text = register(name="Ada", email="x", password="short", again="short").text

    for said in ("must be 1 to 63 of a-z", "is no address such as", "must have 10 to 1024"):
        assert said in text


def test_nobody_makes_accounts_in_numbers(is_open, backend, browse, register, monkeypatch):
    monkeypatch.setattr(accounts, "REGISTRATIONS", replace(accounts.REGISTRATIONS, attempts=2))
    for name in ("ada", "bob"):
        register(name=name, email=f"{name}@example.org")

    refused = register(name="eve", email="eve@example.org")

    assert refused.page.status_code == 429
    assert int(refused.page.headers["Retry-After"]) > 0
    assert count_users(backend) == 2


def test_who_is_signed_in_has_an_account(is_open, browse, owner):
    browser = browse(owner)

    browser.open("/register")

    assert browser.path == "/"


def test_pages_lead_there_only_where_people_may(app, backend, browse, is_open):
    browser = browse()
    for path in ("/", "/login"):
        browser.open(path)
        assert "/register" in browser.links

    serving.install(app, backend)
    for path in ("/", "/login"):
        browser.open(path)
        assert "/register" not in browser.links
    assert browser.open("/register").status_code == 404


def test_nobody_registers_where_nobody_may(app, backend, browse, is_open):
    browser = browse()
    form = browser.open("/register") and browser.form("/register")
    serving.install(app, backend)

    sent = browser.client.post("/register", data={**form.fields, **FILLED})

    assert sent.status_code == 404
    assert count_users(backend) == 0
