"""The service's keys: made once, turned over without losing anything, and bound to a context."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from buildsrht.errors import OperatorError
from buildsrht.keys import (
    SECRETS,
    SSH_HOST_KEY,
    WEBHOOKS,
    Keys,
    add_secrets_key,
    drop_old_secrets_keys,
    make_missing,
)


@pytest.fixture
def directory(tmp_path):
    make_missing(tmp_path / "keys")
    return tmp_path / "keys"


def test_missing_keys_are_made_for_nobody_else_to_read(tmp_path):
    made = make_missing(tmp_path / "keys")

    assert [path.name for path in made] == [SECRETS, WEBHOOKS, SSH_HOST_KEY]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == sorted(
        path.name for path in made
    )


def test_keys_that_are_there_stay(directory):
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    assert make_missing(directory) == []
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_what_was_sealed_opens_in_its_own_context_only(directory):
    keys = Keys(directory)
    sealed = keys.seal(b"swordfish", "secret 1")

    assert b"swordfish" not in sealed
    assert keys.unseal(sealed, "secret 1") == b"swordfish"
    with pytest.raises(OperatorError, match="no key there opens secret 2"):
        keys.unseal(sealed, "secret 2")


def test_the_same_is_sealed_differently_each_time(directory):
    keys = Keys(directory)

    assert keys.seal(b"swordfish", "secret 1") != keys.seal(b"swordfish", "secret 1")


@pytest.mark.parametrize(
    "change", [lambda sealed: sealed[:-1], lambda sealed: b"\x02" + sealed[1:]]
)
def test_what_was_changed_does_not_open(directory, change):
    keys = Keys(directory)

    with pytest.raises(OperatorError):
        keys.unseal(change(keys.seal(b"swordfish", "x")), "x")


def test_an_older_key_opens_what_it_sealed_until_it_is_dropped(directory):
    old = Keys(directory).seal(b"swordfish", "x")
    add_secrets_key(directory)
    new = Keys(directory).seal(b"swordfish", "x")

    both = Keys(directory)
    assert both.unseal(old, "x") == both.unseal(new, "x") == b"swordfish"
    assert (both.is_newest(old, "x"), both.is_newest(new, "x")) == (False, True)

    assert drop_old_secrets_keys(directory) == 1
    assert Keys(directory).unseal(new, "x") == b"swordfish"
    with pytest.raises(OperatorError):
        Keys(directory).unseal(old, "x")


def test_a_key_that_is_dropped_is_nowhere_though_somebody_was_killed_while_adding_one(directory):
    old = (directory / SECRETS).read_bytes()
    (directory / f".{SECRETS}-0123abcd").write_bytes(old)
    add_secrets_key(directory)

    drop_old_secrets_keys(directory)

    assert [file for file in directory.iterdir() if old in file.read_bytes()] == []


def test_a_signature_is_verified_with_the_public_key_that_is_shown(directory):
    keys = Keys(directory)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys.public_key))

    public.verify(keys.sign(b"message"), b"message")
    with pytest.raises(InvalidSignature):
        public.verify(keys.sign(b"message"), b"another")


def test_a_missing_key_is_one_sentence_with_the_remedy(tmp_path):
    with pytest.raises(OperatorError, match="No such file or directory; `buildsrht keys init`"):
        Keys(tmp_path).seal(b"", "")


@pytest.mark.parametrize("content", ["", "c2hvcnQ=\n", "not base64!\n"])
def test_a_file_with_something_else_is_refused(tmp_path, content):
    (tmp_path / SECRETS).write_text(content)

    with pytest.raises(OperatorError, match="expected keys of 32 bytes in base64"):
        Keys(tmp_path).seal(b"", "")
