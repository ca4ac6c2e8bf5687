"""Put a job's secrets into its guest.

An ssh key goes to ~/.ssh under the name that the manifest gives it, a PGP key into the key ring of
`build`, a file where its owner said. The log hides all of them before any is there, and tells why
the job does not get what it does not get.
"""

import logging
from collections.abc import Sequence
from functools import partial

from buildsrht.backend import Backend
from buildsrht.errors import OperatorError
from buildsrht.models import SecretKind
from buildsrht.services.runs import Run
from buildsrht.services.secrets import Grant, Material, grant_secrets
from worker.errors import GuestRefused, RunnerError
from worker.guest import File, Guest
from worker.logbook import Logbook
from worker.packages import JobFailed, require_success
from worker.patience import patiently

log = logging.getLogger(__name__)

SSH = ".ssh"
# The first key is the one that ssh tries of its own accord, unless there is one of that name.
SETTLE_SSH = f"""
chmod 700 ~/{SSH} || exit
[ -e ~/{SSH}/id_rsa ] || ln -s -- "$1" ~/{SSH}/id_rsa
"""
PGP_KEY = ".pgp-key-to-import"
IMPORT_PGP_KEY = f"""
trap 'rm -f ~/{PGP_KEY}' EXIT
command -v gpg >/dev/null || {{ echo "This image has no gpg, which imports PGP keys."; exit 127; }}
gpg --batch --quiet --import ~/{PGP_KEY}
"""


class CannotOpen(RunnerError):
    """The keys of this build host do not open a secret; nothing of the job is to blame."""


def send(backend: Backend, run: Run, named: Sequence[str], guest: Guest, logbook: Logbook) -> None:
    """Give the guest those of the secrets `named` in its manifest that the job may have."""
    grant = patiently(partial(_grant, backend, run, named), backend.config.worker.patience)
    logbook.mask([material.data for material in grant.materials])
    for warning in grant.warnings:
        logbook.say(warning)
    ssh_keys, pgp_keys, files = (
        [material for material in grant.materials if material.kind == kind]
        for kind in (SecretKind.SSH_KEY, SecretKind.PGP_KEY, SecretKind.FILE)
    )
    _write(guest, [*map(_ssh_file, ssh_keys), *map(_file, files)])
    if ssh_keys:
        command = ["bash", "-c", SETTLE_SSH, "settle", ssh_keys[0].named]
        require_success(guest, logbook, "build", command, f"secret {ssh_keys[0].named}")
    for key in pgp_keys:
        _write(guest, [File(PGP_KEY, key.data, mode=0o600)])
        command = ["bash", "-c", IMPORT_PGP_KEY]
        require_success(guest, logbook, "build", command, f"secret {key.named}")


def _grant(backend: Backend, run: Run, named: Sequence[str]) -> Grant:
    try:
        return grant_secrets(backend, run, named)
    except OperatorError as error:
        log.error("its secrets cannot be opened: %s", error)
        raise CannotOpen(
            "The keys of this build host do not open the secrets of this job. That is for its"
            " operator to mend; nothing is wrong with the job."
        ) from error


def _ssh_file(key: Material) -> File:
    return File(f"{SSH}/{key.named}", key.data, mode=0o600)


def _file(file: Material) -> File:
    assert file.path, "the database has no file without a path"
    assert file.mode is not None, "nor without a mode"
    in_home = file.path.startswith("~/")
    return File(file.path[2:].lstrip("/") if in_home else file.path, file.data, file.mode)


def _write(guest: Guest, files: Sequence[File]) -> None:
    try:
        guest.write_files(files)
    except GuestRefused as error:
        raise JobFailed(f"secrets: {error}") from error
