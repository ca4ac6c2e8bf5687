"""What users keep for their builds: who may have it, and that nobody else can read it."""

import subprocess
from uuid import UUID, uuid4

import asyncssh
import pytest
from pysequoia import Tsk
from sqlalchemy import select, update
from sqlalchemy.exc import InvalidRequestError

from buildsrht.errors import BadInput, Conflict, NotFound, OperatorError
from buildsrht.models import JobStatus, Secret, SecretKind
from buildsrht.services.secrets import (
    NewSecret,
    create_secret,
    delete_secret,
    grant_secrets,
    list_secrets,
    share_secret,
)
from tests.build_host import claim, finish

SSH_KEY = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
PGP_KEY = str(Tsk.generate("Ann <ann@example.org>")).encode()
MATERIAL = b"the one and only swordfish\n"


def a_file(name=None, data=MATERIAL, path="~/.netrc", mode=None):
    return NewSecret(SecretKind.FILE, data, name, path, mode)


def an_ssh_key(name=None):
    return NewSecret(SecretKind.SSH_KEY, SSH_KEY, name)


@pytest.fixture
def keep(backend, make_user):
    """Keep a secret for a user: `keep("ann", a_file("name"))`."""

    def create(user, new):
        make_user(user)
        return create_secret(backend, user, new)

    return create


@pytest.fixture
def listed(backend):
    def names_of(user):
        with backend.transaction() as session:
            return [(secret.uuid, secret.name) for secret in list_secrets(session, user)]

    return names_of


@pytest.fixture
def claimed(backend, make_job, make_user):
    """A running job of a user: `claimed("ann")`."""

    def make(user, **fields):
        job = make_job(user=make_user(user), **fields)
        return claim(backend, job.id, "host-1")

    return make


@pytest.fixture
def granted(backend, claimed):
    """What a job of this user gets: `granted("ann", ["name"])`."""

    def grant(user, named):
        found = grant_secrets(backend, claimed(user), named)
        return [material.data for material in found.materials]

    return grant


# --- keeping ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        (an_ssh_key("deploy"), (SecretKind.SSH_KEY, "deploy", None, None)),
        (NewSecret(SecretKind.PGP_KEY, PGP_KEY), (SecretKind.PGP_KEY, None, None, None)),
        (a_file(), (SecretKind.FILE, None, "~/.netrc", 0o600)),
        (a_file("my file", mode="0755"), (SecretKind.FILE, "my file", "~/.netrc", 0o755)),
    ],
)
def test_each_kind_is_kept_and_granted_by_its_uuid(keep, granted, new, kept):
    secret = keep("ann", new)

    assert (secret.kind, secret.name, secret.path, secret.mode) == kept
    assert granted("ann", [str(secret.uuid)]) == [new.material]


def test_what_is_listed_says_all_but_what_is_in_it(backend, keep):
    keep("ann", a_file("first"))

    with backend.transaction() as session:
        [secret] = list_secrets(session, "ann")
        assert (secret.name, secret.path, secret.mode) == ("first", "~/.netrc", 0o600)
        with pytest.raises(InvalidRequestError, match="raiseload"):
            _ = secret.sealed


def test_secrets_are_listed_in_the_order_in_which_they_came(keep, listed):
    kept = [keep("ann", a_file(name)).uuid for name in ("zebra", None, "apple")]
    keep("ben", a_file("bens"))

    assert [uuid for uuid, _ in listed("ann")] == kept


def test_a_user_who_does_not_exist_has_no_list(listed):
    with pytest.raises(NotFound, match="there is no user 'nobody'"):
        listed("nobody")


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (a_file("ab"), "name: must have 3 to 512 characters, not 2"),
        (a_file("x" * 513), "name: must have 3 to 512 characters, not 513"),
        (a_file("two\nlines"), "name: may not contain line breaks or control characters"),
        (a_file("   "), "name: may not be blank"),
        (a_file(str(uuid4())), "name: may not look like a UUID"),
        (a_file(uuid4().hex), "name: may not look like a UUID"),
        (an_ssh_key("../.bashrc"), "name: of an ssh key may not contain /"),
        (an_ssh_key("ü" * 128), "name: of an ssh key may have 255 bytes at most"),
        (a_file(path=None), "path: is needed for a file"),
        (a_file(path=""), "path: must have 1 to 1,024 characters, not 0"),
        (a_file(path="~ben/x"), "path: may begin with ~/, but not name somebody's home"),
        (a_file(path="~"), "path: may begin with ~/, but not name somebody's home"),
        (a_file(path="~/"), "path: must name a file"),
        (a_file(path="etc/.."), "path: must name a file"),
        (a_file(path="a\0b"), "path: may not contain line breaks or control characters"),
        (a_file(mode="888"), "mode: must be three octal digits, such as 600"),
        (a_file(mode="4755"), "mode: must be three octal digits, such as 600"),
        (a_file(data=b""), "material: is empty"),
        (
            NewSecret(SecretKind.SSH_KEY, SSH_KEY, path="~/x", mode="600"),
            "path: is for a file only; mode: is for a file only",
        ),
        (
            NewSecret(SecretKind.FILE, b"", "   ", path="~/x"),
            "name: may not be blank; material: is empty",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_with_every_problem_and_nothing_is_stored(
    backend, new, problem, row_counts
):
    before = row_counts()

    with pytest.raises(BadInput) as refusal:
        create_secret(backend, "ann", new)

    assert str(refusal.value) == problem
    assert row_counts() == before


@pytest.mark.parametrize("path", ["~/.config/app/token", "deep/er/file", "/etc/secret", "../up"])
def test_paths_may_be_written_as_users_write_them(keep, path):
    assert keep("ann", a_file(path=path)).path == path


@pytest.mark.parametrize("name", ["abc", "x" * 512, "two words", "a/b", "grün"])
def test_names_that_a_manifest_may_say_are_accepted(keep, granted, name):
    keep("ann", a_file(name))

    assert granted("ann", [name]) == [MATERIAL]


def test_a_name_means_one_secret_of_its_owner_and_others_may_use_it_too(keep, listed):
    keep("ann", a_file("token"))

    with pytest.raises(BadInput, match="name: 'token' is the name of another secret"):
        keep("ann", an_ssh_key("token"))
    keep("ben", a_file("token"))
    assert len(listed("ann")) == len(listed("ben")) == 1


def test_a_name_is_free_again_when_its_secret_was_deleted(backend, keep):
    secret = keep("ann", a_file("token"))
    delete_secret(backend, "ann", secret.uuid)

    assert keep("ann", a_file("token")).uuid != secret.uuid


# --- at rest ----------------------------------------------------------------------------------


def test_the_database_has_nothing_in_clear(backend, keep):
    """The whole of it, as it would be in a backup."""
    keep("ann", a_file("token"))
    keep("ann", an_ssh_key())
    keep("ann", NewSecret(SecretKind.PGP_KEY, PGP_KEY))

    dump = dumped(backend)

    assert b"~/.netrc" in dump
    for material in (MATERIAL, SSH_KEY, PGP_KEY):
        for line in material.splitlines():
            if len(line) > 20 and not line.startswith(b"-----"):
                assert line not in dump
                assert line.hex().encode() not in dump


def dumped(backend):
    url = backend.engine.url
    command = ["pg_dump", "--host", url.query["host"], "--username", url.username, url.database]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_the_same_is_sealed_differently_each_time(keep):
    assert keep("ann", a_file()).sealed != keep("ann", a_file()).sealed


@pytest.mark.parametrize("thief", ["ben", "ann"])
def test_what_is_sealed_opens_for_its_owner_and_under_its_uuid_only(backend, keep, granted, thief):
    """Whoever can write to the database gains nothing by moving what is sealed to another row."""
    victim = keep("ann", a_file())
    target = keep(thief, a_file("target", b"worthless\n"))
    with backend.transaction() as session:
        session.execute(update(Secret).where(Secret.id == target.id).values(sealed=victim.sealed))

    with pytest.raises(OperatorError, match=f"no key there opens secret {target.uuid}"):
        granted(thief, ["target"])


def test_a_row_that_is_made_somebody_elses_does_not_open(backend, keep, make_user, granted):
    secret, thief = keep("ann", a_file("token")), make_user("ben")
    with backend.transaction() as session:
        session.execute(update(Secret).values(owner_id=thief.id))

    with pytest.raises(OperatorError, match=f"no key there opens secret {secret.uuid}"):
        granted("ben", ["token"])


def test_nothing_that_is_printed_or_raised_has_it(keep, backend, claimed):
    new = a_file("token")
    keep("ann", new)
    grant = grant_secrets(backend, claimed("ann"), ["token"])

    assert "swordfish" not in repr(new) + repr(grant)


# --- sharing ----------------------------------------------------------------------------------


def test_a_shared_secret_is_the_receivers_own_under_the_same_uuid_and_says_from_whom(
    backend, keep, make_user, granted
):
    ben = make_user("ben")
    original = keep("ann", a_file("token", mode="640"))

    copy = share_secret(backend, "ann", original.uuid, "ben")

    assert (copy.uuid, copy.owner_id) == (original.uuid, ben.id)
    assert (copy.path, copy.mode) == ("~/.netrc", 0o640)
    assert copy.from_user_id == original.owner_id
    assert granted("ben", [str(original.uuid)]) == [MATERIAL]


def test_a_copy_outlives_the_original(backend, keep, make_user, granted):
    make_user("ben")
    original = keep("ann", a_file("token"))
    share_secret(backend, "ann", original.uuid, "ben")

    delete_secret(backend, "ann", original.uuid)

    assert granted("ann", ["token"]) == []
    assert granted("ben", [str(original.uuid)]) == [MATERIAL]


def test_nobody_gives_a_meaning_to_a_name_in_somebody_elses_manifest(backend, keep, granted):
    """Ann's file could be the script that ben's shell reads first."""
    keep("ben", a_file())
    original = keep("ann", a_file("release-key", path="~/.bashrc"))

    copy = share_secret(backend, "ann", original.uuid, "ben")

    assert copy.name is None
    assert granted("ben", ["release-key"]) == []


def test_sharing_what_they_have_already_is_refused(backend, keep, make_user):
    make_user("ben")
    secret = keep("ann", a_file("token"))
    share_secret(backend, "ann", secret.uuid, "ben")

    for owner, receiver in (("ann", "ben"), ("ben", "ann"), ("ann", "ann")):
        with pytest.raises(Conflict, match=f"~{receiver} has the secret {secret.uuid} already"):
            share_secret(backend, owner, secret.uuid, receiver)


def test_sharing_with_a_user_who_does_not_exist_makes_none(backend, keep, row_counts):
    secret = keep("ann", a_file())
    before = row_counts()

    with pytest.raises(NotFound, match="there is no user 'nobody'"):
        share_secret(backend, "ann", secret.uuid, "nobody")
    assert row_counts() == before


def test_only_its_owner_may_share_or_delete_a_secret_not_even_an_administrator(
    backend, keep, make_user, listed
):
    make_user("ben")
    make_user("root", admin=True)
    secret = keep("ann", a_file())

    for user in ("ben", "root"):
        with pytest.raises(NotFound, match=f"~{user} has no secret {secret.uuid}"):
            share_secret(backend, user, secret.uuid, user)
        with pytest.raises(NotFound, match=f"~{user} has no secret {secret.uuid}"):
            delete_secret(backend, user, secret.uuid)
        assert listed(user) == []
    assert len(listed("ann")) == 1


# --- what a build gets ------------------------------------------------------------------------


def test_materials_come_in_the_order_of_the_manifest_called_as_it_calls_them(
    backend, keep, claimed
):
    first, second = keep("ann", a_file("first")), keep("ann", an_ssh_key("second"))
    named = ["second", str(first.uuid).upper(), "first"]

    materials = grant_secrets(backend, claimed("ann"), named).materials

    assert [(m.named, m.kind, m.data) for m in materials] == [
        ("second", SecretKind.SSH_KEY, SSH_KEY),
        (str(first.uuid).upper(), SecretKind.FILE, MATERIAL),
        ("first", SecretKind.FILE, MATERIAL),
    ]
    assert second.uuid != first.uuid


def test_what_is_unknown_and_what_is_another_users_are_skipped_with_the_same_words(
    backend, keep, claimed
):
    bens = keep("ben", a_file("bens secret"))
    keep("ann", a_file("token"))
    named = ["nothing", "bens secret", str(bens.uuid), str(UUID(int=7)), "token"]

    grant = grant_secrets(backend, claimed("ann"), named)

    assert [material.named for material in grant.materials] == ["token"]
    assert grant.warnings == tuple(
        f"secret {name}: you have none of that name or UUID; skipped" for name in named[:-1]
    )


def test_a_secret_that_is_named_again_is_given_once(backend, keep, granted):
    keep("ann", a_file("token"))
    assert granted("ann", ["token"] * 64) == [MATERIAL]


def test_a_job_that_was_submitted_without_secrets_gets_none(backend, keep, claimed):
    keep("ann", a_file("token"))
    run = claimed("ann", secrets=False)

    grant = grant_secrets(backend, run, ["token", "unknown"])

    assert grant.materials == ()
    assert len(grant.warnings) == 1
    assert "without secrets" in grant.warnings[0]


def test_a_run_that_is_not_ours_any_more_gets_nothing(backend, keep, claimed):
    keep("ann", a_file("token"))
    run = claimed("ann")
    finish(backend, run, JobStatus.SUCCESS)

    with pytest.raises(Conflict, match="is no longer run by"):
        grant_secrets(backend, run, ["token"])


def test_a_secret_that_was_deleted_is_gone_from_the_database(backend, keep):
    secret = keep("ann", a_file("token"))
    delete_secret(backend, "ann", secret.uuid)

    with backend.transaction() as session:
        assert session.scalars(select(Secret)).all() == []
    with pytest.raises(NotFound):
        delete_secret(backend, "ann", secret.uuid)
