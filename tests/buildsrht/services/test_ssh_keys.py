"""Public keys: what is accepted as one, and whose it is."""

import asyncssh
import pytest

from buildsrht.errors import BadInput, NotFound
from buildsrht.services import ssh_keys

ED25519 = asyncssh.generate_private_key("ssh-ed25519")
LINE = ED25519.export_public_key().decode().strip()
# Of a token that somebody carries; its private half cannot be here.
SK = (
    "sk-ssh-ed25519@openssh.com "
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIL0S2sCvBX1LRu1jHvj3bTE6hg+crJX9dzHTVTN0vqXsAAAABHNzaDo="
)


@pytest.fixture
def find(backend):
    def find_by_key(key=ED25519):
        with backend.transaction() as session:
            return ssh_keys.find_key(session, key)

    return find_by_key


def test_a_key_is_found_whoever_offers_it_and_knows_its_user(backend, find):
    added = ssh_keys.add_key(backend, "ann", LINE + " ann@laptop")

    found = find()

    assert (found.user.name, found.comment) == ("ann", "ann@laptop")
    assert found.fingerprint == added.fingerprint == ED25519.get_fingerprint()


def test_a_key_that_nobody_registered_is_nobodys(backend, find):
    ssh_keys.add_key(backend, "ann", LINE)

    assert find(asyncssh.generate_private_key("ssh-ed25519")) is None


def named(text: str) -> str:
    """What a case is called: the same in each process of a run, whatever the key is."""
    return repr(text[:12])


@pytest.mark.parametrize(
    "line",
    [f"  {LINE}\n", LINE.replace(" ", "\t", 1), f"{LINE}  me  at home ", f"{LINE}\r\n"],
    ids=named,
)
def test_a_key_is_the_same_however_it_is_written(line):
    assert ssh_keys.read_key(line).text == LINE


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ssh-ed25519", {}),
        ("ecdsa-sha2-nistp256", {}),
        ("ecdsa-sha2-nistp384", {}),
        ("ecdsa-sha2-nistp521", {}),
        ("ssh-rsa", {"key_size": 2048}),
    ],
)
def test_kinds_that_are_accepted(kind, options):
    key = asyncssh.generate_private_key(kind, **options)

    read = ssh_keys.read_key(key.export_public_key().decode())

    assert read == (ssh_keys.text_of(key), key.get_fingerprint(), None)


def test_a_key_that_is_in_a_token_is_accepted():
    assert ssh_keys.read_key(f"{SK} yubikey").text == SK


def weak_rsa():
    return asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_public_key().decode()


def certificate():
    return ED25519.generate_user_certificate(ED25519, "ann").export_certificate().decode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (ED25519.export_private_key().decode(), "is a private key"),
        ("", "must be one line"),
        (f"{LINE}\n{LINE}", "must be one line"),
        (f"{LINE} {'x' * 9000}", "must be one line"),
        (f'command="echo hello" {LINE}', "may have no options"),
        (f"no-pty,from=10.0.0.1 {LINE}", "may have no options"),
        (certificate(), "is a certificate"),
        (weak_rsa(), "must have 2048 to 16384 bits, got 1024"),
        ("ssh-dss AAAAB3NzaC1kc3M=", "must begin with one of ssh-ed25519, "),
        ("hello", "must begin with one of ssh-ed25519, "),
        ("ssh-ed25519", "is damaged"),
        ("ssh-ed25519 AAAA", "is damaged"),
        (LINE[:-8], "is damaged"),
        (LINE.replace("ssh-ed25519", "ssh-rsa", 1), "is damaged: Public key algorithm mismatch"),
        (f"{LINE} a\0b", "printable"),
        (f"{LINE} {'x' * 256}", "at most 255"),
    ],
    ids=named,
)
def test_what_is_no_public_key_is_refused_with_the_reason_and_nothing_is_stored(
    backend, row_counts, line, reason
):
    before = row_counts()

    with pytest.raises(BadInput) as refused:
        ssh_keys.add_key(backend, "ann", line)

    assert reason in str(refused.value)
    assert row_counts() == before


@pytest.mark.parametrize("second", ["ann", "ben"])
def test_a_key_belongs_to_one_user_once(backend, row_counts, second):
    ssh_keys.add_key(backend, "ann", LINE)
    before = row_counts()

    with pytest.raises(BadInput, match="is registered already"):
        ssh_keys.add_key(backend, second, LINE + " another comment")

    assert row_counts() == before


def test_keys_are_listed_in_order_for_all_or_for_one(backend):
    for user in ("ann", "ben", "ann"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        ssh_keys.add_key(backend, user, key.export_public_key().decode())

    with backend.transaction() as session:
        everybody, ann, nobody = (
            [key.user.name for key in ssh_keys.list_keys(session, name)]
            for name in (None, "ann", "zoe")
        )

    assert (everybody, ann, nobody) == (["ann", "ben", "ann"], ["ann", "ann"], [])


def test_a_removed_key_lets_nobody_in_and_cannot_be_removed_again(backend, find):
    fingerprint = ssh_keys.add_key(backend, "ann", LINE).fingerprint

    ssh_keys.remove_key(backend, fingerprint)

    assert find() is None
    with pytest.raises(NotFound, match=r"there is no ssh key SHA256:"):
        ssh_keys.remove_key(backend, fingerprint)


def test_when_a_key_was_used_is_noted(backend, find):
    key = ssh_keys.add_key(backend, "ann", LINE)
    assert find().last_used is None

    ssh_keys.note_use(backend, key.id)

    assert find().last_used >= key.created
