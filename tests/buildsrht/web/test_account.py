"""Somebody's own account."""

import pytest

from buildsrht.services import accounts

OLD, NEW = "correct horse battery", "another one, quite"


@pytest.fixture
def ada(backend):
    accounts.create_user(backend, "ada", "ada@example.org")
    return accounts.set_password(backend, "ada", OLD)


@pytest.fixture
def change(browse, ada):
    def change(browser=None, **fields):
        browser = browser or browse(ada)
        browser.open("/account")
        browser.send("/account/password", **{"password": OLD, "new": NEW, "again": NEW, **fields})
        return browser

    return change


def test_a_person_sees_who_they_are_here(browse, ada):
    browser = browse(ada)
    browser.open("/account")

    assert "~ada" in browser.text
    assert "ada@example.org" in browser.text


def test_a_new_password_signs_out_everywhere_but_here(backend, browse, ada, change):
    here, elsewhere = browse(ada), browse(ada)
    cookie = here.client.get_cookie("buildsrht").value

    change(here)

    assert (here.path, here.page.status_code) == ("/account", 200)
    assert here.client.get_cookie("buildsrht").value != cookie
    elsewhere.open("/account")
    assert elsewhere.path.startswith("/login")
    assert accounts.find_by_password(backend, "ada", NEW)
    assert not accounts.find_by_password(backend, "ada", OLD)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"password": "wrong"}, 403),
        ({"password": ""}, 403),
        ({"again": NEW + "x"}, 400),
        ({"new": "short", "again": "short"}, 400),
        ({"new": "", "again": ""}, 400),
        ({"csrf": "x"}, 403),
    ],
)
def test_a_mistake_changes_nothing(backend, browse, ada, change, fields, status):
    browser = change(**fields)

    assert browser.page.status_code == status
    assert accounts.find_by_password(backend, "ada", OLD)
    assert browser.open("/account").status_code == 200
    assert browser.path == "/account"


def test_the_old_password_cannot_be_guessed_from_an_open_browser(backend, ada, change):
    for _ in range(accounts.BY_NAME.attempts):
        assert change(password="wrong").page.status_code == 403

    assert change().page.status_code == 429
    assert accounts.find_by_password(backend, "ada", OLD)


def test_who_has_no_password_is_not_asked_for_one(browse, owner):
    browser = browse(owner)

    assert "Change your password" not in browser.open("/account").text
