"""One job from its turn to its end: the function that RQ calls in a process of its own.

    taken ─▶ run directory ─▶ watch ─▶ boot ─▶ the steps ─▶ machine destroyed ─▶ logs sealed, end
                                               └▶ machine promised ─▶ logs sealed, end ─▶ frozen

A job's final status is in one transaction with the seal of its last log, when its machine is gone:
whoever sees it finds its logs complete, and a run that dies before has left a log that the janitor
can end with words of its own. But where the machine is kept for the job's owner, it is frozen after
that, as nobody shall wait for it. If this process is killed, worker.janitor does the rest.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from buildsrht import config as settings
from buildsrht import journal
from buildsrht import manifest as manifests
from buildsrht.backend import Backend, open_backend
from buildsrht.errors import BuildsError, Conflict
from buildsrht.manifest import Manifest, ManifestError
from buildsrht.models import Fault, JobStatus
from buildsrht.processes import die_with_parent, leave_no_core
from buildsrht.services import dispatch, phases, runs
from buildsrht.services.phases import Name as Phase
from buildsrht.services.runs import Run
from worker import intake, machines
from worker.directories import owned_directory
from worker.errors import GuestLost, GuestRefused, ImageMissing, Loss, MachineKilled
from worker.guest import Guest
from worker.kept import keeping
from worker.kept.frozen import Freezable
from worker.kept.keeping import Promise
from worker.logbook import Logbook, OutputLimitReached
from worker.machines import Wanted
from worker.packages import JobFailed
from worker.patience import patiently
from worker.secrets import CannotOpen
from worker.steps import STEPS, Build, run_tasks
from worker.watch import Interrupted, Interruption, Watch

log = logging.getLogger(__name__)

NOT_ITS_OWN = (
    "\nNo machine is kept, as that was not the job's own;"
    " with `layers: false` in the manifest it would be."
)


# Asks a work horse to give its job back.
HAND_BACK = signal.SIGUSR1
CAUSE_CHARACTERS = 500
# What a build may do to itself; all else that ends a job is our fault.
BUILDS_OWN = (JobFailed, GuestLost, GuestRefused, OutputLimitReached, ManifestError)
# Of what is our fault: what another attempt would meet as well.
LASTING = (ImageMissing, CannotOpen)


class End(NamedTuple):
    """How a job ended, and why, where that does not go without saying. `again` says that another
    attempt may do better."""

    status: JobStatus
    cause: str | None = None
    fault: Fault | None = None
    again: bool = False


class Machine(Protocol):
    """What a run needs of a virtual machine."""

    @property
    def guest(self) -> Guest: ...

    @property
    def image_version(self) -> str: ...

    @property
    def layer(self) -> str | None: ...

    @property
    def layer_is_new(self) -> bool: ...

    @property
    def origin(self) -> str:
        """`spare`, `snapshot` or `boot`."""

    @property
    def has_packages(self) -> bool: ...

    @property
    def freezable(self) -> Freezable | None:
        """What can be frozen of it; None if it cannot be kept."""

    def explain_loss(self) -> Loss: ...


ENDS = {
    Interruption.CANCELLED: End(JobStatus.CANCELLED),
    Interruption.TIMEOUT: End(JobStatus.TIMEOUT, fault=Fault.BUILD),
    Interruption.HANDED_BACK: End(JobStatus.FAILED, fault=Fault.SERVICE, again=True),
    # Others may have ended it by then; but if nobody was heard, it is still ours.
    Interruption.LOST: End(JobStatus.FAILED, fault=Fault.SERVICE, again=True),
}


# A machine for a run; the guard is told how to kill it as soon as there is one, long before it is
# up.
Start = Callable[[Wanted], AbstractContextManager[Machine]]


def run_job(_job_id: int) -> None:
    """RQ's entry point. Which job woke us says nothing about which job's turn it is."""
    die_with_parent()
    leave_no_core()
    with closing(open_backend(settings.load())) as backend:
        run = dispatch.take(backend, intake.offer(backend.config, backend.catalogue))
        if run:
            perform(backend, run, machines.start)
        dispatch.announce_limited(backend)


def perform(backend: Backend, run: Run, start: Start) -> None:
    """Run a job that is ours. Its fate is in the database, never in an exception."""
    deadline = time.monotonic() + backend.config.worker.job_timeout
    directory = backend.config.worker.path / run_name(run)
    with (
        journal.about(**journal.of_job(run.job_id, run.attempt)),
        Watch(backend, run, deadline) as watch,
        _handed_back_on_demand(watch),
    ):
        log.info("begun, with %s (%s)", run.image, run.arch)
        with owned_directory(directory), ExitStack() as machines:
            logbook = Logbook(backend, run.job_id, run.attempt, directory)
            attempt = _Attempt(backend, run, watch, logbook, directory)
            end, promise = attempt.make(start, machines)
            if end.again and end.cause and logbook.hand_back(end.cause):
                return
            if promise:
                # From the moment when the job is over it is not ours any more, which must not kill
                # its machine.
                watch.let_go()
            ended = _finish(backend, run, logbook, end)
            if promise:
                _keep_or_not(promise, ended == end.status and not watch.interruption)


@contextmanager
def _handed_back_on_demand(watch: Watch) -> Iterator[None]:
    """Let go of the job when HAND_BACK arrives, if no task of it has begun."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(HAND_BACK, lambda *_: watch.hand_back())
    try:
        yield
    finally:
        signal.signal(HAND_BACK, before)


def _failed(error: BuildsError, cause: str) -> End:
    if isinstance(error, BUILDS_OWN) and not isinstance(error, MachineKilled):
        return End(JobStatus.FAILED, cause, Fault.BUILD)
    return End(JobStatus.FAILED, cause, Fault.SERVICE, again=not isinstance(error, LASTING))


def run_name(run: Run) -> str:
    """What a run's directory is called."""
    return f"{run.job_id}-{run.attempt}"


def _finish(backend: Backend, run: Run, logbook: Logbook, end: End) -> JobStatus | None:
    """Seal the logs and end the job; returns how it ended, None if somebody else ended it."""
    try:
        status = logbook.close(
            lambda session: runs.finish(session, run, end.status, end.cause, end.fault)
        )
    except Conflict:
        log.warning("ended by somebody else, as its claim had expired")
        logbook.close()
        return None
    log.info("ended: %s", status)
    return status


def _keep_or_not(promise: Promise, is_to_be_kept: bool) -> None:
    if is_to_be_kept:
        promise.keep()
    else:
        promise.withdraw(keeping.ENDED_OTHERWISE)


@dataclass(frozen=True)
class _Attempt:
    """The steps of a job, with everything that they need; what goes on is said in its log."""

    backend: Backend
    run: Run
    watch: Watch
    logbook: Logbook
    directory: Path
    has_machine: threading.Event = field(default_factory=threading.Event)

    def make(self, start: Start, machines: ExitStack) -> tuple[End, Promise | None]:
        """How the job ended. Its machine is gone, unless it was promised to the job's owner: then
        it is left in `machines`."""
        with ExitStack() as ours:
            end, machine = self._do_job(start, ours)
            promise = self._promise(machine) if machine else None
            if promise:
                machines.push(ours.pop_all())
        return end, promise

    def _do_job(self, start: Start, stack: ExitStack) -> tuple[End, Machine | None]:
        """How it ended, and the machine if it is to be kept."""
        machine = None
        try:
            manifest = manifests.parse(self.run.manifest)
            machine = self._start(start, stack, manifest)
            self._do_steps(machine, manifest)
            return End(JobStatus.SUCCESS), machine if manifest.shell else None
        except BuildsError as error:
            interruption = self.watch.interruption
            if interruption:
                cause = self._say_why(interruption.value)
                return self._end_of(interruption)._replace(cause=cause), None
            end = _failed(error, self._say_why(str(error)))
            # Of no other error it is known that the guest waits to be asked for something.
            if not isinstance(error, JobFailed):
                return end, None
            if machine is None:
                self.logbook.say(NOT_ITS_OWN)
            return end, machine
        # The top of a job: here ends whatever nobody foresaw, RQ's own time limit included.
        except Exception as error:
            log.exception("an internal error")
            cause = self._say_why(
                "An internal error of the build host ended this job; its log has more."
            )
            return End(JobStatus.FAILED, cause, Fault.SERVICE, isinstance(error, OSError)), None

    def _end_of(self, interruption: Interruption) -> End:
        """A job that ran out of time before it had a machine is not to blame for that."""
        if interruption is Interruption.TIMEOUT and not self.has_machine.is_set():
            return End(JobStatus.TIMEOUT, fault=Fault.SERVICE, again=True)
        return ENDS[interruption]

    def _say_why(self, reason: str) -> str:
        """Say in the log why the job ended. Returns the first line of it, as the log shows it."""
        self.logbook.say(f"\n{reason}")
        shown = self.logbook.shown(reason).replace("\0", "").strip()
        return shown.partition("\n")[0][:CAUSE_CHARACTERS]

    def _start(self, start: Start, stack: ExitStack, manifest: Manifest) -> Machine:
        run = self.run
        self.logbook.say(f"Job {run.job_id} on {run.runner}: starting {run.image} ({run.arch}).")
        wanted = Wanted(
            config=self.backend.config,
            image=run.image,
            arch=run.arch,
            manifest=manifest,
            directory=self.directory,
            logbook=self.logbook,
            guard=self.watch.kills,
            begin=self._begin,
        )
        begun = time.monotonic()
        machine = stack.enter_context(start(wanted))
        self.has_machine.set()
        seconds = time.monotonic() - begun
        self.logbook.say(f"The machine is up after {seconds:.1f} s.")
        facts = {
            "image_version": machine.image_version,
            "layer": machine.layer,
            "layer_is_new": machine.layer_is_new,
            "origin": machine.origin,
            "up_seconds": round(seconds, 3),
        }
        patience = self.backend.config.worker.patience
        patiently(lambda: runs.record_plan(self.backend, run, **facts), patience)
        return machine

    def _begin(self, phase: Phase) -> None:
        if phase is not Phase.STARTING:
            self.has_machine.set()
        patience = self.backend.config.worker.patience
        patiently(lambda: phases.begin(self.backend, self.run, phase), patience)

    def _do_steps(self, machine: Machine, manifest: Manifest) -> None:
        build = Build(
            self.backend,
            self.run,
            manifest,
            machine.guest,
            machine.has_packages,
            self.logbook,
            self._begin,
        )
        try:
            for step in STEPS:
                self.watch.check()
                if step is run_tasks:
                    self.watch.keep()
                step(build)
        except GuestLost as error:
            if self.watch.interruption:
                raise Interrupted(self.watch.interruption.value) from error
            loss = Loss(str(error), was_killed=False) if str(error) else machine.explain_loss()
            if loss.report:
                self.logbook.say(f"The kernel's last words:\n{loss.report}")
            kind = MachineKilled if loss.was_killed else GuestLost
            raise kind(f"The machine was lost: {loss.reason}.") from error

    def _promise(self, machine: Machine) -> Promise | None:
        if machine.freezable is None:
            return None
        return keeping.promise(self.backend, self.run, machine.freezable, self.logbook.say)
