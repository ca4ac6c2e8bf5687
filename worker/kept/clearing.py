"""What is left of kept machines when their time is over, or when the process that froze one or had
it run was killed. For the janitor of the host they are on.
"""

import logging

from buildsrht.backend import Backend
from buildsrht.journal import of_job
from buildsrht.services import kept as service
from worker.directories import is_in_use
from worker.errors import RunnerError
from worker.kept import frozen, keeping
from worker.kept.frozen import Kept

log = logging.getLogger(__name__)

NEVER_FROZEN = "the build host was stopped before it was frozen"
FILES_GONE = "its files are gone"
TIME_OVER = "its time was over"


def clear(backend: Backend) -> None:
    """Make rows and directories agree, and end what is over."""
    # Rows first: a directory is made before its row, and goes after the row has ended.
    alive = {row.job_id for row in service.list_machines(backend, backend.config.worker.name)}
    if not alive and not backend.config.ssh.path.exists():
        return
    for job_id in alive:
        with frozen.door(backend.config):
            if reason := _why_gone(frozen.find(backend.config, job_id)):
                keeping.end(backend, Kept.of(backend.config, job_id), reason)
                log.warning("its machine is no longer kept: %s", reason, extra=of_job(job_id))
    for kept in frozen.all_kept(backend.config):
        with frozen.door(backend.config):
            if not _is_in_use(kept):
                _care_for(backend, kept)
            elif _is_nobodys(backend, kept):
                kept.dismiss()
                log.warning("its machine ends, as it was deleted", extra=of_job(kept.job_id))


def _why_gone(kept: Kept | None) -> str | None:
    if kept is None:
        return FILES_GONE
    if _is_in_use(kept):
        return None
    if kept.state is None:
        return NEVER_FROZEN
    try:
        return TIME_OVER if kept.is_over else None
    except RunnerError as error:
        return str(error)


def _is_in_use(kept: Kept) -> bool:
    """Before it was frozen for the first time its owner may have had no time to say so."""
    return kept.is_owned or (kept.state is None and is_in_use(kept.directory))


def _is_nobodys(backend: Backend, kept: Kept) -> bool:
    """Whether its job was deleted: the row is there before anything is frozen."""
    return kept.state is not None and service.find_machine(backend, kept.job_id) is None


def _care_for(backend: Backend, kept: Kept) -> None:
    row = service.find_machine(backend, kept.job_id)
    if row is None or row.ended:
        kept.remove()
    else:
        kept.tidy()
