"""Add a manifest's repositories and install its packages in a guest.

Knows nothing of whose guest it is: a job's own, or one that becomes a layer.
"""

from collections.abc import Sequence

from buildsrht.errors import BuildsError
from buildsrht.manifest import Manifest
from worker.guest import Guest
from worker.logbook import Logbook

# Every image brings these two; see docs/images.md.
ADD_REPOSITORY = "/usr/lib/buildsrht/add-repository"
INSTALL = "/usr/lib/buildsrht/install"


class JobFailed(BuildsError):
    """The job did not succeed, and nobody but its manifest or its tasks is to blame."""


def add_repositories(guest: Guest, manifest: Manifest, logbook: Logbook) -> None:
    for name, specification in manifest.repositories.items():
        logbook.say(f"Adding repository {name}.")
        command = [ADD_REPOSITORY, name, specification]
        require_success(guest, logbook, "root", command, f"repository {name}")


def install_packages(guest: Guest, manifest: Manifest, logbook: Logbook) -> None:
    if manifest.packages:
        logbook.say(f"Installing {', '.join(manifest.packages)}.")
        require_success(guest, logbook, "root", [INSTALL, *manifest.packages], "packages")


def require_success(
    guest: Guest, logbook: Logbook, user: str, argv: Sequence[str], what: str
) -> None:
    status = guest.run(argv, logbook.write, user=user)
    if status != 0:
        raise JobFailed(f"{what}: {how_it_ended(status)}")


def how_it_ended(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"ended by signal {-status}"
