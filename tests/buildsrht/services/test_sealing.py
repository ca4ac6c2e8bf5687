"""Turning over the key that encrypts: nothing is lost, wherever it stops and whoever is at work."""

import threading
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from buildsrht import keys
from buildsrht.errors import OperatorError
from buildsrht.models import Forge, Hook, Secret, SecretKind
from buildsrht.services import hooks, sealing
from buildsrht.services.secrets import NewSecret, create_secret

MATERIAL = b"swordfish swordfish\n"


@pytest.fixture
def own_keys(backend, config, tmp_path):
    """A backend whose keys no other test has."""
    path = tmp_path / "keys"
    keys.make_missing(path)
    config = replace(config, keys=replace(config.keys, path=path))
    return replace(backend, config=config, keys=keys.Keys(path))


@pytest.fixture
def stored(own_keys):
    """One of each thing that is sealed."""
    wanted = hooks.NewHook(Forge.GITHUB, "https://example.org/ann/it", credential="ann:token")
    _, proof = hooks.create_hook(own_keys, "ann", wanted)
    secret = create_secret(own_keys, "ann", a_file())
    return Stored(secret, [MATERIAL, proof.encode(), b"ann:token"])


@dataclass(frozen=True)
class Stored:
    secret: Secret
    plain: list[bytes]


def a_file():
    return NewSecret(SecretKind.FILE, MATERIAL, path="~/x")


def opened(backend):
    """Everything that is sealed, opened by those who sealed it."""
    with backend.transaction() as session:
        secret = session.scalars(select(Secret)).one()
        hook = session.scalars(select(Hook)).one()
        return [
            backend.keys.unseal(secret.sealed, f"secret {secret.uuid} of user {secret.owner_id}"),
            hooks.reveal_proof(backend, hook).encode(),
            hooks.reveal_credential(backend, hook),
        ]


def key_file(backend):
    return (backend.config.keys.path / keys.SECRETS).read_bytes().split()


def test_everything_opens_with_a_new_key_and_the_old_one_is_forgotten(own_keys, stored):
    [before] = key_file(own_keys)

    assert sealing.begin_rotation(own_keys)
    assert sealing.finish_rotation(own_keys) == sealing.Rotation(resealed=3, forgotten=1)

    [after] = key_file(own_keys)
    assert after != before
    assert opened(own_keys) == stored.plain


def test_between_the_two_halves_everything_opens_and_what_is_new_is_sealed_with_the_new_key(
    own_keys, stored
):
    sealing.begin_rotation(own_keys)
    assert opened(own_keys) == stored.plain

    later = create_secret(own_keys, "ann", a_file())

    assert own_keys.keys.is_newest(later.sealed, sealing.secret_context(later))
    assert sealing.finish_rotation(own_keys).resealed == 3


def test_a_process_that_began_before_needs_no_restart(own_keys, stored):
    long_lived = keys.Keys(own_keys.config.keys.path)
    sealed_before = long_lived.seal(b"x", "x")

    sealing.begin_rotation(own_keys)
    sealed_between = long_lived.seal(b"x", "x")
    assert long_lived.unseal(sealed_before, "x") == b"x"
    sealing.finish_rotation(own_keys)

    assert keys.Keys(own_keys.config.keys.path).unseal(sealed_between, "x") == b"x"


def test_to_begin_twice_makes_one_key(own_keys, stored):
    assert sealing.begin_rotation(own_keys)
    assert not sealing.begin_rotation(own_keys)

    assert len(key_file(own_keys)) == 2


def test_to_finish_twice_changes_nothing_more(own_keys, stored):
    sealing.begin_rotation(own_keys)
    sealing.finish_rotation(own_keys)

    assert sealing.finish_rotation(own_keys) == sealing.Rotation(resealed=0, forgotten=0)
    assert opened(own_keys) == stored.plain


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "interrupted", [(keys.Keys, "seal"), (keys, "drop_old_secrets_keys")], ids=lambda of: of[1]
)
def test_interrupted_anywhere_it_loses_nothing_and_goes_on_when_called_again(
    own_keys, stored, monkeypatch, interrupted
):
    sealing.begin_rotation(own_keys)
    with monkeypatch.context() as patched:
        patched.setattr(*interrupted, interrupt)
        with pytest.raises(KeyboardInterrupt):
            sealing.finish_rotation(own_keys)

    assert opened(own_keys) == stored.plain
    assert sealing.finish_rotation(own_keys).forgotten == 1
    assert opened(own_keys) == stored.plain


def test_no_key_is_forgotten_when_something_does_not_open(own_keys, stored):
    with own_keys.transaction() as session:
        session.scalars(select(Secret)).one().sealed = b"\x01 nothing that any key has sealed"
    sealing.begin_rotation(own_keys)

    with pytest.raises(
        OperatorError, match=f"no key there opens secret {stored.secret.uuid} of user"
    ):
        sealing.finish_rotation(own_keys)
    assert len(key_file(own_keys)) == 2


def test_whoever_is_sealing_is_waited_for(own_keys, stored):
    """A row that is stored after its key was forgotten would be lost."""
    begun, rotated = threading.Event(), threading.Event()

    def rotate():
        begun.set()
        sealing.begin_rotation(own_keys)
        sealing.finish_rotation(own_keys)
        rotated.set()

    thread = threading.Thread(target=rotate)
    with own_keys.transaction() as session:
        sealing.hold_keys(session)
        secret = session.scalars(select(Secret)).one()
        context = sealing.secret_context(secret)
        secret.sealed = own_keys.keys.seal(b"changed", context)
        thread.start()
        assert begun.wait(10)
        assert not rotated.wait(0.3)
    thread.join(30)

    assert rotated.is_set()
    assert opened(own_keys)[0] == b"changed"


def test_nobody_seals_while_the_keys_are_turned_over(own_keys, stored):
    with own_keys.transaction() as guard:
        sealing._take_keys(guard)
        with own_keys.transaction() as session:
            session.connection().exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            with pytest.raises(OperationalError, match="lock timeout"):
                sealing.hold_keys(session)
            session.rollback()
