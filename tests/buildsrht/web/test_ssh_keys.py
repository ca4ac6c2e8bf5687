"""Public keys on their page."""

import pytest

from buildsrht.services import ssh_keys
from tests.contract.conftest import FINGERPRINT, OTHER_KEY, PUBLIC_KEY


@pytest.fixture
def browser(browse, owner):
    return browse(owner)


@pytest.fixture
def key(backend, owner):
    return ssh_keys.add_key(backend, owner.name, PUBLIC_KEY)


def keys_of(backend, user):
    with backend.transaction() as session:
        return [each.key for each in ssh_keys.list_keys(session, user.name)]


def test_a_key_is_added_and_shown_with_what_it_is_known_by(backend, browser, owner):
    browser.open("/ssh-keys")
    browser.send("/ssh-keys", key=f"{PUBLIC_KEY}\r\n")

    assert keys_of(backend, owner) == [" ".join(PUBLIC_KEY.split()[:2])]
    for said in ("of tests", FINGERPRINT, "Type ssh-ed25519", "Last used never"):
        assert said in browser.text


def test_it_says_when_it_was_used(backend, browser, key):
    ssh_keys.note_use(backend, key.id)
    browser.open("/ssh-keys")

    assert "never" not in browser.text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "must be one line"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "is a private key"),
        (f"{PUBLIC_KEY}\n{OTHER_KEY}", "must be one line"),
        ("ssh-ed25519 AAAA", "is damaged"),
        (PUBLIC_KEY, "is registered already"),
    ],
    ids=["nothing", "private", "two", "damaged", "known"],
)
def test_what_is_no_key_is_refused_and_still_there(backend, browser, key, owner, line, reason):
    browser.open("/ssh-keys")
    page = browser.send("/ssh-keys", key=line)

    assert page.status_code == 400
    assert reason in browser.text
    assert browser.form("/ssh-keys").fields["key"] == line
    assert len(keys_of(backend, owner)) == 1


def test_a_key_is_deleted_by_whose_it_is(backend, browser, browse, owner, stranger, key):
    other = browse(stranger)
    other.open("/ssh-keys")
    assert FINGERPRINT not in other.text
    word = other.form("/logout").fields["csrf"]
    delete = f"/ssh-keys/{key.id}/delete"
    assert other.client.post(delete, data={"csrf": word}).status_code == 404
    assert len(keys_of(backend, owner)) == 1

    browser.open("/ssh-keys")
    browser.send(delete)

    assert keys_of(backend, owner) == []
    assert "None." in browser.text
