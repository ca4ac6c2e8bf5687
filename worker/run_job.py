"""One job from claim to end: the function that RQ calls in a process of its own.

    claim ─▶ run directory ─▶ watch ─▶ boot ─▶ the steps ─▶ machine destroyed ─▶ logs sealed ─▶ end

A job's final status is the last thing that happens: whoever sees it finds its logs complete and
nothing of it left on this host. If this process is killed, worker.janitor does the rest.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from buildsrht import config as settings
from buildsrht import manifest as manifests
from buildsrht.backend import Backend, open_backend
from buildsrht.errors import BuildsError, Conflict
from buildsrht.models import JobStatus
from buildsrht.services import runs
from buildsrht.services.runs import Run
from worker import images, vm
from worker.accelerator import choose_accelerator
from worker.directories import owned_directory
from worker.errors import GuestLost
from worker.guest import Guest
from worker.logbook import Logbook
from worker.patience import patiently
from worker.processes import die_with_parent
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

    def kill(self) -> None: ...

    def explain_loss(self) -> str: ...


# A machine for a run, its files in a directory; the guard is told how to kill the machine as soon
# as there is one, long before it is up.
Boot = Callable[[Backend, Run, Path, vm.Guard], AbstractContextManager[Machine]]


def run_job(job_id: int) -> None:
    """RQ's entry point."""
    die_with_parent()
    with closing(open_backend(settings.load())) as backend:
        perform(backend, job_id, boot_image)


@contextmanager
def boot_image(backend: Backend, run: Run, directory: Path, guard: vm.Guard) -> Iterator[Machine]:
    """The run's image on a fresh virtual machine, as this host is configured to make one."""
    config = backend.config
    image = images.require_built(config, run.image, run.arch)
    hardware = vm.Hardware(
        accelerator=choose_accelerator(config, image, guard),
        memory=config.worker.memory,
        cpus=config.worker.cpus,
    )
    with vm.boot(
        image,
        hardware,
        directory / "vm",
        allow=config.network.allow,
        timeout=config.worker.boot_timeout,
        guard=guard,
    ) as machine:
        yield machine


def perform(backend: Backend, job_id: int, boot: Boot) -> None:
    """Run a job if it is still to be had. Its fate is in the database, never in an exception."""
    run = runs.claim(backend, job_id, backend.config.worker.name)
    if run is None:
        return
    deadline = time.monotonic() + backend.config.worker.job_timeout
    directory = backend.config.worker.path / run_name(run)
    with Watch(backend, run, deadline) as watch:
        with owned_directory(directory), closing(Logbook(backend, job_id, directory)) as logbook:
            status = _attempt(backend, run, watch, logbook, boot, directory)
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
    backend: Backend, run: Run, watch: Watch, logbook: Logbook, boot: Boot, directory: Path
) -> JobStatus:
    """Do the job's steps; returns how it ended, and has said so in its log."""
    logbook.say(f"Job {run.job_id} on {run.runner}: starting {run.image} ({run.arch}).")
    started = time.monotonic()
    try:
        with boot(backend, run, directory, watch.kills) as machine:
            logbook.say(f"The machine is up after {time.monotonic() - started:.1f} s.")
            _do_steps(backend, run, watch, logbook, machine)
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


def _do_steps(backend: Backend, run: Run, watch: Watch, logbook: Logbook, machine: Machine) -> None:
    build = Build(backend, run, manifests.parse(run.manifest), machine.guest, logbook)
    try:
        for step in STEPS:
            watch.check()
            step(build)
    except GuestLost as error:
        if watch.interruption:
            raise Interrupted(watch.interruption.value) from error
        reason = str(error) or machine.explain_loss()
        raise GuestLost(f"The machine was lost: {reason}.") from error
