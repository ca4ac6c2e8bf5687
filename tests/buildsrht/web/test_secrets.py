"""Secrets on their page: kept, shared, forgotten, and never shown."""

from io import BytesIO

import pytest
from sqlalchemy import select

from buildsrht.models import Secret, SecretKind
from buildsrht.services import secrets
from buildsrht.services.secrets import NewSecret
from buildsrht.web import forms

FILE = {"kind": "file", "name": "netrc", "path": "~/.netrc", "mode": "640"}
HIDDEN = "machine example.org password xyzzy"


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


@pytest.fixture
def add(browser):
    def send(**fields):
        browser.open("/secrets")
        return browser.send("/secrets", **{**FILE, "material": HIDDEN, **fields})

    return send


@pytest.fixture
def kept(backend):
    def read():
        with backend.transaction() as session:
            return session.scalars(select(Secret).order_by(Secret.id)).all()

    return read


@pytest.fixture
def make_secret(backend, owner):
    def make(name=None, user=owner):
        new = NewSecret(SecretKind.FILE, HIDDEN.encode(), name, "~/.netrc")
        return secrets.create_secret(backend, user.name, new)

    return make


def content(backend, secret):
    return backend.keys.unseal(secret.sealed, secrets.secret_context(secret))


def test_what_is_typed_is_kept_and_not_shown(backend, browser, add, kept):
    page = add(material=f"{HIDDEN}\r\nlogin ada")

    [secret] = kept()
    assert (secret.kind, secret.name, secret.path, secret.mode) == (
        "file",
        "netrc",
        "~/.netrc",
        0o640,
    )
    assert content(backend, secret) == f"{HIDDEN}\nlogin ada\n".encode()
    assert browser.path == "/secrets"
    assert str(secret.uuid) in browser.text
    assert "netrc" in browser.text
    assert "~/.netrc , mode 640" in browser.text
    assert "xyzzy" not in page.text


def test_a_file_is_kept_as_it_is(backend, add, kept):
    add(material="", upload=(BytesIO(b"\0\xff\r\n"), "key.bin"))

    assert content(backend, kept()[0]) == b"\0\xff\r\n"


def test_a_file_that_is_too_large_is_refused(browser, add, row_counts):
    assert add(material="", upload=(BytesIO(b"x" * 70_000), "key")).status_code == 400

    assert "has more than 16,384 bytes" in browser.text
    assert row_counts()["secret"] == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "password"}, "kind"),
        ({"kind": "ssh_key"}, "material"),
        ({"material": ""}, "material"),
        ({"upload": (BytesIO(b"x"), "x")}, "material"),
        ({"name": "x"}, "name"),
        ({"path": ""}, "path"),
        ({"path": "~/"}, "path"),
        ({"mode": "rw-"}, "mode"),
    ],
    ids=lambda case: case if isinstance(case, str) else "+".join(case),
)
def test_what_cannot_be_is_refused_at_its_field_and_its_content_is_on_no_page(
    browser, add, row_counts, fields, field
):
    page = add(**fields)

    assert page.status_code == 400
    assert row_counts()["secret"] == 0
    assert f'id="{field}-fault"' in page.text
    assert "xyzzy" not in page.text
    if "name" not in fields:
        assert browser.form("/secrets").fields["name"] == "netrc"


def test_the_fields_of_a_file_mean_nothing_of_a_key(browser, add):
    add(kind="ssh_key", material="x")

    assert 'id="path-fault"' not in browser.page.text
    assert "is not an ssh private key" in browser.text


def test_a_secret_is_shared_and_says_by_whom(browser, browse, stranger, make_secret):
    secret = make_secret("netrc")
    browser.open("/secrets")

    browser.send(f"/secrets/{secret.uuid}/share", user="~stranger")

    assert "~stranger has a copy now" in browser.text
    other = browse(stranger)
    other.open("/secrets")
    assert "Shared by ~owner" in other.text
    assert str(secret.uuid) in other.text
    assert "Without a name" in other.text


@pytest.mark.parametrize(
    ("user", "status", "said"),
    [
        ("nobody", 404, "there is no user 'nobody'"),
        ("", 404, "there is no user ''"),
        ("owner", 400, "has the secret"),
    ],
)
def test_what_cannot_be_shared_is_not(browser, make_secret, row_counts, user, status, said):
    secret = make_secret()
    browser.open("/secrets")

    page = browser.send(f"/secrets/{secret.uuid}/share", user=user)

    assert page.status_code == status
    assert said in browser.text
    assert row_counts()["secret"] == 1


def test_a_secret_is_deleted(browser, make_secret, kept):
    first, second = make_secret(), make_secret()
    browser.open("/secrets")

    browser.send(f"/secrets/{first.uuid}/delete")

    assert [secret.uuid for secret in kept()] == [second.uuid]
    assert str(first.uuid) not in browser.text


@pytest.mark.parametrize("verb", ["share", "delete"])
def test_nobody_elses_secret_is_touched(browse, stranger, make_secret, row_counts, verb):
    secret = make_secret()
    other = browse(stranger)
    other.open("/secrets")
    word = other.form("/logout").fields["csrf"]

    answer = other.client.post(
        f"/secrets/{secret.uuid}/{verb}", data={"csrf": word, "user": "stranger"}
    )

    assert answer.status_code == 404
    assert row_counts()["secret"] == 1


def test_a_long_list_goes_on(browser, make_secret, monkeypatch):
    monkeypatch.setattr(forms, "PAGE", 2)
    made = [str(make_secret().uuid) for _ in range(5)]
    shown = []
    path = "/secrets"
    while path:
        page = browser.open(path).text
        shown.append([uuid for uuid in made if uuid in page])
        path = next((link for link in browser.links if "from=" in link), None)

    assert shown == [made[:2], made[2:4], made[4:]]
