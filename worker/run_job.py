"""One job from claim to end: the function that RQ calls in a process of its own.

    claim ─▶ run directory ─▶ watch ─▶ boot ─▶ the steps ─▶ machine destroyed ─▶ logs sealed ─▶ end

A job's final status is the last thing that happens: whoever sees it finds its logs complete and
nothing of it left on this host. If this process is killed, worker.janitor does the rest.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Protocol

from buildsrht import config as settings
from buildsrht import manifest as manifests
from buildsrht.backend import Backend, open_backend
from buildsrht.errors import BuildsError, Conflict
from buildsrht.models import JobStatus
from buildsrht.processes import die_with_parent
from buildsrht.services import runs
from buildsrht.services.runs import Run
from worker import machines
from worker.directories import owned_directory
from worker.errors import GuestLost
from worker.guest import Guest
from worker.logbook import Logbook
from worker.machines import Wanted
from worker.patience import patiently
from worker.steps import STEPS, Build
from worker.watch import Interrupted, Interruption, Watch

log = logging.getLogger(__name__)

ENDS_AS = {
    Interruption.CANCELLED: JobStatus.CANCELLED,
    Interruption.TIMEOUT: JobStatus.TIMEOUT,
}


class Machine(Protocol):
    """What a run needs of a virtual machine."""

    @property
    def guest(self) -> Guest: ...

    @property
    def has_packages(self) -> bool: ...

    def explain_loss(self) -> str: ...


# A machine for a run; the guard is told how to kill it as soon as there is one, long before it is
# up.
Start = Callable[[Wanted], AbstractContextManager[Machine]]


def run_job(job_id: int) -> None:
    """RQ's entry point."""
    die_with_parent()
    with closing(open_backend(settings.load())) as backend:
        perform(backend, job_id, machines.start)


def perform(backend: Backend, job_id: int, start: Start) -> None:
    """Run a job if it is still to be had. Its fate is in the database, never in an exception."""
    run = runs.claim(backend, job_id, backend.config.worker.name)
    if run is None:
        return
    deadline = time.monotonic() + backend.config.worker.job_timeout
    directory = backend.config.worker.path / run_name(run)
    with Watch(backend, run, deadline) as watch:
        with owned_directory(directory), closing(Logbook(backend, job_id, directory)) as logbook:
            status = _attempt(backend, run, watch, logbook, start, directory)
        if watch.interruption != Interruption.LOST:
            _finish(backend, run, status)


def run_name(run: Run) -> str:
    """What a run's directory is called."""
    return f"{run.job_id}-{run.attempt}"


def _finish(backend: Backend, run: Run, status: JobStatus) -> None:
    try:
        patiently(lambda: runs.finish(backend, run, status), backend.config.worker.lease)
    except Conflict:
        log.warning("job %d was ended by somebody else, as its claim had expired", run.job_id)


def _attempt(
    backend: Backend, run: Run, watch: Watch, logbook: Logbook, start: Start, directory: Path
) -> JobStatus:
    """Do the job's steps; returns how it ended, and has said so in its log."""
    try:
        _do_job(backend, run, watch, logbook, start, directory)
    except BuildsError as error:
        if watch.interruption:
            logbook.say(f"\n{watch.interruption.value}")
            return ENDS_AS.get(watch.interruption, JobStatus.FAILED)
        logbook.say(f"\n{error}")
        return JobStatus.FAILED
    # The top of a job: here ends whatever nobody foresaw, RQ's own time limit included.
    except Exception:
        log.exception("job %d met an internal error", run.job_id)
        logbook.say("\nAn internal error of the build host ended this job; its log has more.")
        return JobStatus.FAILED
    return JobStatus.SUCCESS


def _do_job(
    backend: Backend, run: Run, watch: Watch, logbook: Logbook, start: Start, directory: Path
) -> None:
    logbook.say(f"Job {run.job_id} on {run.runner}: starting {run.image} ({run.arch}).")
    manifest = manifests.parse(run.manifest)
    wanted = Wanted(backend.config, run.image, run.arch, manifest, directory, logbook, watch.kills)
    begun = time.monotonic()
    with start(wanted) as machine:
        logbook.say(f"The machine is up after {time.monotonic() - begun:.1f} s.")
        build = Build(backend, run, manifest, machine.guest, machine.has_packages, logbook)
        try:
            _do_steps(build, watch)
        except GuestLost as error:
            if watch.interruption:
                raise Interrupted(watch.interruption.value) from error
            reason = str(error) or machine.explain_loss()
            raise GuestLost(f"The machine was lost: {reason}.") from error


def _do_steps(build: Build, watch: Watch) -> None:
    for step in STEPS:
        watch.check()
        step(build)
