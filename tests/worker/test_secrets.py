"""Secrets on their way into a guest, and what a build finds there.

The guest is a fake one, but for the last test: the real agent, bash and gpg on this host.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace

import asyncssh
import pytest
from pysequoia import Tsk

from buildsrht import keys
from buildsrht.models import JobStatus, SecretKind
from buildsrht.services.secrets import NewSecret, create_secret, share_secret
from tests.worker.fakes import fake_boot, perform
from tests.worker.outcome import Outcome, assert_nothing_is_left, outcome_of
from tests.worker.repositories import make_repository
from worker import machines, secrets

MATERIAL = b"machine example.org password swordfish\n"
PGP = Tsk.generate("Ann <ann@example.org>")
FINGERPRINT = PGP.extract_certificate().fingerprint.upper()


def new_ssh_key() -> bytes:
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key()


@pytest.fixture
def keep(backend, owner) -> Callable[..., bytes]:
    """Keep a secret for the jobs' owner, and return what it is."""

    def create(kind: SecretKind, material: bytes, name: str, user=owner, **options) -> bytes:
        create_secret(backend, user.name, NewSecret(kind, material, name, **options))
        return material

    return create


@pytest.fixture
def keep_ssh_key(keep) -> Callable[[str], bytes]:
    return lambda name: keep(SecretKind.SSH_KEY, new_ssh_key(), name)


@pytest.fixture
def run_job(backend, make_job, tmp_path_factory) -> Callable[..., Outcome]:
    """Run a job that names these secrets and has this task: `run_job(["name"], "cat file")`."""
    # Not deep: gpg's agent has sockets in the build's home, and their paths have 107 bytes at most.
    worker = replace(backend.config.worker, path=tmp_path_factory.mktemp("work"))
    backend = replace(backend, config=replace(backend.config, worker=worker))

    def run(named: list[str], script: str = "true", *, backend=backend, keys=None, **fields):
        manifest = {"image": "debian/trixie", "secrets": named, "tasks": [{"look": script}]}
        job = make_job(manifest=json.dumps({**manifest, **(keys or {})}), **fields)
        perform(backend, job.id, fake_boot)
        assert_nothing_is_left(backend)
        return outcome_of(backend, job.id)

    return run


@pytest.fixture
def found(run_job) -> Callable[..., str]:
    """What a script prints in a build that succeeds. It goes through a file, as logs hide much."""

    def look(named: list[str], script: str) -> str:
        outcome = run_job(named, f"( {script} ) >out", keys={"artifacts": ["out"]})
        assert outcome.status == JobStatus.SUCCESS, outcome
        return outcome.artifacts["out"].decode()

    return look


# --- ssh keys ---------------------------------------------------------------------------------


def test_an_ssh_key_has_the_name_that_the_manifest_gives_it_and_is_for_its_user_only(
    found, keep_ssh_key
):
    key = keep_ssh_key("deploy key")

    assert found(["deploy key"], "cat '.ssh/deploy key'") == key.decode()
    modes = found(["deploy key"], "stat -c '%a %n' .ssh .ssh/*key")
    assert modes == "700 .ssh\n600 .ssh/deploy key\n"


def test_an_ssh_key_that_is_named_by_its_uuid_has_that_for_a_name(backend, owner, found):
    new = NewSecret(SecretKind.SSH_KEY, new_ssh_key(), "deploy")
    uuid = str(create_secret(backend, owner.name, new).uuid)

    assert found([uuid], "ls .ssh; readlink .ssh/id_rsa") == f"{uuid}\nid_rsa\n{uuid}\n"


def test_the_first_ssh_key_is_also_the_one_that_ssh_tries_of_its_own_accord(found, keep_ssh_key):
    first = keep_ssh_key("first")
    keep_ssh_key("second")

    assert found(["first", "second"], "cat .ssh/id_rsa") == first.decode()
    assert found(["first", "second"], "ls .ssh") == "first\nid_rsa\nsecond\n"


def test_a_key_that_is_called_id_rsa_is_not_written_over_by_the_first(found, keep_ssh_key):
    keep_ssh_key("first")
    named_so = keep_ssh_key("id_rsa")

    assert found(["first", "id_rsa"], "cat .ssh/id_rsa") == named_so.decode()
    assert found(["id_rsa"], "cat .ssh/id_rsa") == named_so.decode()


def test_a_key_whose_name_looks_like_an_option_is_a_key_like_any_other(found, keep_ssh_key):
    key = keep_ssh_key("--force")

    assert found(["--force"], "cat .ssh/id_rsa") == key.decode()


def test_ssh_can_use_it(found, keep_ssh_key):
    key = keep_ssh_key("deploy")
    public = asyncssh.import_private_key(key).export_public_key().decode().split()[1]

    assert public in found(["deploy"], "ssh-keygen -y -f .ssh/id_rsa")


# --- PGP keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [str(PGP).encode(), bytes(PGP)], ids=["armoured", "binary"])
def test_a_pgp_key_is_in_the_key_ring_and_signs_and_the_file_that_brought_it_is_gone(
    found, keep, key
):
    keep(SecretKind.PGP_KEY, key, "signing")

    script = "gpg --list-secret-keys --with-colons; echo x | gpg --batch --sign >signed; ls -A"
    said = found(["signing"], script)

    assert f"fpr:::::::::{FINGERPRINT}:" in said
    assert secrets.PGP_KEY not in said


def test_a_pgp_key_that_gpg_refuses_fails_the_job_and_names_the_secret(run_job, keep):
    """Here gpg has no place for its key ring."""
    keep(SecretKind.PGP_KEY, str(PGP).encode(), "signing")
    keep(SecretKind.FILE, b"in the way\n", "obstacle", path="~/.gnupg")

    outcome = run_job(["obstacle", "signing"])

    assert (outcome.status, outcome.tasks) == (JobStatus.FAILED, {"look": "pending"})
    assert "secret signing: exit status 2" in outcome.setup_log


def test_an_image_without_gpg_fails_the_job_and_says_so(run_job, keep, monkeypatch):
    keep(SecretKind.PGP_KEY, str(PGP).encode(), "signing")
    without = "PATH=/nonexistent\n" + secrets.IMPORT_PGP_KEY.replace("rm -f", "/bin/rm -f")
    monkeypatch.setattr(secrets, "IMPORT_PGP_KEY", without)

    outcome = run_job(["signing"])

    assert outcome.status == JobStatus.FAILED
    assert "This image has no gpg, which imports PGP keys.\n\nsecret signing: exit" in (
        outcome.setup_log
    )


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["~/deep/er/file", "deep/er/file", "~//deep/er/file"])
def test_a_file_is_at_its_path_with_its_mode_and_its_directories_are_made(found, keep, path):
    keep(SecretKind.FILE, MATERIAL, "netrc", path=path, mode="440")

    assert found(["netrc"], "stat -c '%a' deep/er/file; cat deep/er/file") == (
        f"440\n{MATERIAL.decode()}"
    )


def test_a_file_may_be_anywhere(found, keep, tmp_path):
    path = tmp_path / "elsewhere" / "file"
    keep(SecretKind.FILE, MATERIAL, "netrc", path=str(path))

    assert found(["netrc"], f"cat {path}") == MATERIAL.decode()


def test_a_file_that_is_no_text_arrives_byte_for_byte(run_job, keep):
    store = keep(SecretKind.FILE, bytes(range(256)) * 64, "store", path="store")
    digest = hashlib.sha256(store).hexdigest()

    outcome = run_job(["store"], f"echo {digest} store | sha256sum -c")

    assert outcome.status == JobStatus.SUCCESS


def test_a_file_that_cannot_be_made_fails_the_job_with_the_path(run_job, keep):
    keep(SecretKind.FILE, MATERIAL, "netrc", path="/proc/nothing/file")

    outcome = run_job(["netrc"])

    assert outcome.status == JobStatus.FAILED
    assert "secrets: " in outcome.setup_log
    assert "/proc/nothing" in outcome.setup_log


# --- in which order ---------------------------------------------------------------------------


def test_secrets_are_there_before_packages_and_sources(run_job, tmp_path):
    """A private repository may need one."""
    make_repository(tmp_path / "project", {"README": "hello\n"})

    outcome = run_job(
        ["unknown"],
        keys={"packages": ["gcc"], "sources": [f"file://{tmp_path}/project"]},
    )

    log = outcome.setup_log
    said = [log.index(words) for words in ("secret unknown", "Installing gcc", "Cloning into")]
    assert said == sorted(said)


def test_secrets_come_after_the_tasks_and_the_environment(run_job, keep):
    keep(SecretKind.FILE, b"echo from the secret\n", "script", path=".tasks/look")

    assert run_job(["script"], "echo no").logs["look"].endswith("from the secret\n")


# --- what is withheld -------------------------------------------------------------------------


def test_what_is_unknown_or_somebody_elses_is_skipped_with_a_warning_and_the_build_goes_on(
    run_job, keep, stranger
):
    keep(SecretKind.FILE, MATERIAL, "theirs", user=stranger, path="~/theirs")
    keep(SecretKind.FILE, MATERIAL, "ours", path="~/ours")

    outcome = run_job(["theirs", "nothing", "ours"], "test ! -e theirs && test -e ours")

    assert outcome.status == JobStatus.SUCCESS
    for name in ("theirs", "nothing"):
        warning = f"secret {name}: you have none of that name or UUID; skipped\n"
        assert warning in outcome.setup_log


def test_a_shared_secret_is_given_to_the_receivers_jobs(backend, owner, stranger, found):
    new = NewSecret(SecretKind.FILE, MATERIAL, "token", path="~/token")
    uuid = create_secret(backend, stranger.name, new).uuid
    share_secret(backend, stranger.name, uuid, owner.name)

    assert found([str(uuid)], "cat token") == MATERIAL.decode()


def test_a_job_that_was_submitted_without_secrets_gets_none_and_its_log_says_so(
    run_job, keep, keep_ssh_key
):
    keep_ssh_key("deploy")
    keep(SecretKind.PGP_KEY, str(PGP).encode(), "signing")
    keep(SecretKind.FILE, MATERIAL, "netrc", path="~/.netrc")

    outcome = run_job(
        ["deploy", "signing", "netrc"],
        "test ! -e .ssh && test ! -e .gnupg && test ! -e .netrc",
        secrets=False,
    )

    assert outcome.status == JobStatus.SUCCESS
    assert "This job was submitted to run without secrets; it gets none.\n" in outcome.setup_log


def test_a_job_that_names_no_secret_hears_nothing_of_them(run_job):
    assert "secret" not in run_job([], secrets=False).setup_log


# --- what must not leak -----------------------------------------------------------------------


def test_a_log_hides_what_a_task_prints_of_them(run_job, keep, keep_ssh_key):
    key = keep_ssh_key("deploy").decode()
    keep(SecretKind.FILE, MATERIAL, "netrc", path="~/.netrc")

    outcome = run_job(["deploy", "netrc"], "cat .netrc .ssh/deploy; echo end")

    assert "swordfish" not in outcome.logs["look"]
    assert key.splitlines()[1] not in outcome.logs["look"]
    assert outcome.logs["look"].endswith("end\n")


def test_keys_that_do_not_open_them_fail_the_job_and_the_operator_is_told(
    run_job, keep, backend, tmp_path, caplog
):
    keep(SecretKind.FILE, MATERIAL, "netrc", path="~/.netrc")
    keys.make_missing(tmp_path / "others")
    elsewhere = replace(backend, keys=keys.Keys(tmp_path / "others"))

    with caplog.at_level(logging.ERROR):
        outcome = run_job(["netrc"], backend=elsewhere)

    assert (outcome.status, outcome.tasks) == (JobStatus.FAILED, {"look": "pending"})
    assert "That is for its operator to mend; nothing is wrong with the job." in outcome.setup_log
    assert str(tmp_path) not in outcome.setup_log
    assert "no key there opens secret" in caplog.text
    assert "swordfish" not in caplog.text + outcome.setup_log


def test_no_exception_quotes_a_secret(run_job, keep, monkeypatch, caplog):
    """Not even one that nobody foresaw, right when the guest gets it."""
    keep(SecretKind.FILE, MATERIAL, "netrc", path="~/.netrc")

    def fail(guest, files):
        raise RuntimeError(f"could not send {files}")

    monkeypatch.setattr(secrets, "_write", fail)
    outcome = run_job(["netrc"])

    assert outcome.status == JobStatus.FAILED
    assert "RuntimeError: could not send" in caplog.text
    assert "swordfish" not in caplog.text


# --- in a real machine ------------------------------------------------------------------------

LOOK = f"""
stat -c '%U %a %n' .ssh .ssh/* deep/file >report
sha256sum <.ssh/deploy >>report
sha256sum <deep/file >>report
ssh-keygen -y -f .ssh/id_rsa >>report
echo x | gpg --batch --sign >signed
gpg --list-secret-keys --with-colons >>report
test ! -e {secrets.PGP_KEY}
cat .ssh/deploy deep/file
"""


@pytest.mark.vm
def test_a_real_machine_has_each_kind_where_it_belongs(
    backend, host_config, make_job, keep, keep_ssh_key
):
    key, file = keep_ssh_key("deploy"), keep(SecretKind.FILE, MATERIAL, "file", path="~/deep/file")
    keep(SecretKind.PGP_KEY, str(PGP).encode(), "signing")
    names = {"secrets": ["file", "deploy", "signing"], "artifacts": ["report"]}
    manifest = {"image": "debian/trixie", "tasks": [{"look": LOOK}], **names}
    config = replace(backend.config, images=host_config.images, snapshots=host_config.snapshots)
    backend = replace(backend, config=config)

    job = make_job(manifest=json.dumps(manifest))
    perform(backend, job.id, machines.start)
    outcome = outcome_of(backend, job.id)

    assert outcome.status == JobStatus.SUCCESS, outcome
    report = outcome.artifacts["report"].decode()
    for line in ("700 .ssh", "600 .ssh/deploy", "777 .ssh/id_rsa", "600 deep/file"):
        assert f"build {line}\n" in report
    for data in (key, file):
        assert hashlib.sha256(data).hexdigest() in report
    assert asyncssh.import_private_key(key).export_public_key().decode().split()[1] in report
    assert f"fpr:::::::::{FINGERPRINT}:" in report
    assert "swordfish" not in outcome.logs["look"]
    assert_nothing_is_left(backend)
