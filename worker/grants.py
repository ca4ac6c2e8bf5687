"""Give a job's guest the token that its manifest asks for by `oauth`.

Its text is in this process, in the guest, and nowhere else; the logs hide it before it gets there.
"""

from functools import partial

from buildsrht.backend import Backend
from buildsrht.manifest import Manifest
from buildsrht.services.runs import Run
from buildsrht.services.scopes import read_grants
from buildsrht.services.tokens import create_job_token
from worker.environment import (
    BUILD_ENVIRONMENT,
    HUT_CONFIG,
    always_set,
    build_environment,
    hut_config,
)
from worker.guest import File, Guest
from worker.logbook import Logbook
from worker.patience import patiently

ONLY_ITS_USER = 0o600


def send(backend: Backend, run: Run, manifest: Manifest, guest: Guest, logbook: Logbook) -> None:
    """Put a new token into ~/.buildenv, which is there already, and into hut's configuration."""
    if not run.secrets:
        logbook.say("No token for oauth: the job was submitted without secrets.")
        return
    grants = read_grants(manifest.grants)
    create = partial(create_job_token, backend, run, grants)
    token = patiently(create, backend.config.worker.patience)
    logbook.mask([token.encode()])
    origin = backend.config.web.origin
    always = always_set(origin, run.owner, run.job_id, token)
    environment = build_environment(manifest, always)
    guest.write_files(
        [
            File(BUILD_ENVIRONMENT, environment.encode(), ONLY_ITS_USER),
            File(HUT_CONFIG, hut_config(origin, token).encode(), ONLY_ITS_USER),
        ]
    )
    logbook.say(
        f"A token for {', '.join(sorted(grants))} is in OAUTH2_TOKEN; it ends with the job."
    )
