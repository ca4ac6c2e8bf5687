"""What is left of kept machines when their time is over, or when the process that froze one or had
it run was killed. For the janitor of the host they are on.
"""

import logging
from contextlib import suppress

from buildsrht.backend import Backend
from buildsrht.errors import OperatorError
from buildsrht.keys import Keys
from buildsrht.services import kept as service
from worker.directories import is_in_use
from worker.errors import RunnerError
from worker.kept import frozen
from worker.kept.frozen import Kept

log = logging.getLogger(__name__)

NEVER_FROZEN = "the build host was stopped before it was frozen"
FILES_GONE = "its files are gone"
TIME_OVER = "its time was over"


def clear(backend: Backend) -> None:
    """Make rows and directories agree, and end what is over."""
    alive = set()
    # Rows first: a directory is made before its row, and goes after the row has ended.
    for row in service.list_machines(backend, backend.config.worker.name):
        reason = _why_gone(frozen.find(backend.config, row.job_id))
        if reason is None:
            alive.add(row.job_id)
        elif service.end_machine(backend, row.job_id, reason):
            log.warning("the machine of job %d is no longer kept: %s", row.job_id, reason)
    for kept in frozen.all_kept(backend.config):
        if _is_in_use(kept):
            continue
        if kept.job_id in alive:
            kept.tidy()
        else:
            kept.remove()
    _reseal(backend)


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


def _reseal(backend: Backend) -> None:
    """So that the service's old keys may be dropped soon after a new one was added."""
    # Read anew: these may be added at any time.
    keys = Keys(backend.config.keys.path)
    for kept in frozen.all_kept(backend.config):
        with suppress(FileNotFoundError, OperatorError):
            if not _is_in_use(kept):
                kept.reseal_key(keys)
