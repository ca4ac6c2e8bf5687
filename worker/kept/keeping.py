"""A run keeps its machine for the job's owner: first it promises, last it freezes.

The promise is the end of the job's log, so whatever could be in the way is looked at before: room,
keys, the guest itself. The machine is frozen when everybody knows how the job ended, as nobody
shall wait for that.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from buildsrht.backend import Backend
from buildsrht.config import Config, duration_text
from buildsrht.errors import Conflict, OperatorError
from buildsrht.services import kept as service
from buildsrht.services.runs import Run
from worker.errors import TROUBLE, RunnerError
from worker.kept import frozen, vault
from worker.kept.frozen import Freezable, Kept
from worker.patience import patiently

log = logging.getLogger(__name__)

ENDED_OTHERWISE = "its job ended otherwise"


class Promise:
    """A machine that its owner was told of. To be kept or withdrawn."""

    def __init__(self, backend: Backend, kept: Kept, key: bytes, machine: Freezable):
        self._backend = backend
        self._kept = kept
        self._key = key
        self._machine = machine

    def keep(self) -> None:
        """Freeze the machine, which ends it. If that is not possible, the database says why."""
        try:
            self._kept.freeze(self._machine, self._key)
        except TROUBLE as error:
            log.warning("its machine is not kept", exc_info=True)
            self.withdraw(f"it could not be frozen: {error}")
        else:
            self._kept.disown()

    def withdraw(self, reason: str) -> None:
        """There will be no machine."""
        end(self._backend, self._kept, reason)


def promise(
    backend: Backend,
    run: Run,
    machine: Freezable,
    say: Callable[[str], None],
) -> Promise | None:
    """Tell the owner of a job, in its log, how to get into its machine, or why that is not
    possible."""
    try:
        key = vault.new_key()
        kept = _prepare(backend, run, machine, key)
    except (*TROUBLE, OperatorError, Conflict) as error:
        say(f"\nThe machine is not kept: {error}.")
        return None
    say(_announcement(backend.config, run.job_id))
    return Promise(backend, kept, key, machine)


def _prepare(backend: Backend, run: Run, machine: Freezable, key: bytes) -> Kept:
    config = backend.config
    if not machine.guest.has_sessions:
        raise RunnerError("its image was built before that was possible")
    if reason := frozen.shortage(config, frozen.need_of(machine)):
        raise RunnerError(reason)
    expires = datetime.now(UTC) + timedelta(seconds=config.ssh.keep)
    kept = frozen.prepare(config, run.job_id, machine.body, expires)
    # The directory was first: the janitor takes a row without one for a machine that is gone.
    try:
        patiently(
            lambda: service.record_machine(backend, run, expires, key), config.worker.patience
        )
    except BaseException:
        kept.remove()
        raise
    return kept


def _announcement(config: Config, job_id: int) -> str:
    return (
        f"\nThe machine is kept for {duration_text(config.ssh.keep)}. The owner of the job gets"
        f" into it by:\n{service.connect_command(config.ssh, job_id)}"
    )


def end(backend: Backend, kept: Kept, reason: str) -> None:
    """A machine is gone for good: the database says so first, as whoever finds a row looks for the
    files."""
    try:
        patiently(
            lambda: service.end_machine(backend, kept.job_id, reason),
            backend.config.worker.patience,
        )
    finally:
        kept.remove()
