"""`buildsrht secret`, and `buildsrht keys rotate`, which seals what it keeps anew."""

import io
from types import SimpleNamespace
from uuid import uuid4

import asyncssh
import pytest

from buildsrht import keys
from buildsrht.services.secrets import find_uuid

SSH_KEY = asyncssh.generate_private_key("ssh-ed25519").export_private_key()


@pytest.fixture
def secret(command, backend, monkeypatch):
    """`secret("create", ..., stdin=b"...")`."""
    monkeypatch.setenv("VAR", str(backend.config.var))

    def run(*arguments, stdin=b""):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        return command("secret", *arguments)

    return run


@pytest.fixture
def keep(secret):
    """Keep a file for a user and return its UUID."""

    def create(user, *options):
        arguments = ("--user", user, "--kind", "file", "--path", "~/x", *options)
        return secret("create", *arguments, stdin=b"swordfish").out.strip()

    return create


def test_each_kind_is_created_from_standard_input_and_only_its_uuid_is_printed(secret):
    key = secret("create", "--user", "ann", "--kind", "ssh-key", "--name", "key", stdin=SSH_KEY)
    file = secret(
        *("create", "--user", "ann", "--kind", "file", "--path", "~/x", "--mode", "640"),
        stdin=b"swordfish",
    )

    assert (key.status, key.err, file.status, file.err) == (0, "", 0, "")
    assert find_uuid(key.out.strip())
    assert secret("list", "--user", "ann").out == (
        f"{key.out.strip()}\tssh-key\tkey\t\t\n{file.out.strip()}\tfile\t\t~/x 640\t\n"
    )


def test_a_secret_is_shared_and_deleted(secret, keep):
    uuid = keep("ann", "--name", "token")
    keep("ben", "--name", "bens-own")

    shared = secret("share", "--user", "ann", uuid, "--with", "ben")
    assert shared == (0, "", "")
    assert f"{uuid}\tfile\t\t~/x 600\t~ann\n" in secret("list", "--user", "ben").out

    assert secret("delete", "--user", "ann", uuid) == (0, "", "")
    assert secret("list", "--user", "ann").out == ""
    assert uuid in secret("list", "--user", "ben").out


def test_what_cannot_be_kept_is_refused_in_one_sentence_that_does_not_quote_it(secret, keep):
    done = secret("create", "--user", "ann", "--kind", "pgp-key", stdin=b"swordfish")

    assert done == (1, "", "buildsrht: material: is not a PGP key, or a damaged one\n")
    keep("ann")
    large = secret(
        *("create", "--user", "ann", "--kind", "file", "--path", "x"), stdin=b"x" * 10_000_000
    )
    assert large.err == "buildsrht: material: has more than 16,384 bytes\n"


@pytest.mark.parametrize("verb", [("share", "--with", "ben"), ("delete",)])
def test_another_users_secret_is_as_one_that_does_not_exist(secret, keep, verb):
    keep("ben")
    for uuid in (keep("ann"), str(uuid4())):
        done = secret(*verb, "--user", "ben", uuid)
        assert done == (1, "", f"buildsrht: ~ben has no secret {uuid}\n")


# --- keys rotate ------------------------------------------------------------------------------


@pytest.fixture
def rotate(command, secret, backend):
    """`buildsrht keys rotate`. The keys are every test's, which may go on with any."""
    return lambda *arguments: command("keys", "rotate", *arguments)


def test_keys_rotate_seals_everything_with_a_new_key(backend, keep, rotate):
    keep("ann")
    before = key_file(backend)

    done = rotate()

    assert done == (0, "", "made a new key\nsealed 1 values anew, forgot 1 old keys\n")
    assert len(key_file(backend)) == 1
    assert key_file(backend) != before


def test_its_halves_may_be_run_apart_and_repeated(backend, keep, rotate):
    keep("ann")

    assert rotate("--add").err == "made a new key\n"
    assert rotate("--add").err == "going on with the new key that was made before\n"
    assert len(key_file(backend)) == 2
    assert rotate("--finish").err == "sealed 1 values anew, forgot 1 old keys\n"
    assert rotate("--finish").err == "sealed 0 values anew, forgot 0 old keys\n"
    assert len(key_file(backend)) == 1


def key_file(backend):
    return (backend.config.keys.path / keys.SECRETS).read_bytes().split()
