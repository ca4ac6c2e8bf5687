"""What may end a job from outside while it runs: its owner, its deadline, a lost lease.

A thread asks the database often, keeps the lease alive, and knows the deadline. When one of them
says stop it destroys the machine, which wakes whoever waits for the machine's answer; the reason
is left in `interruption`.
"""

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from buildsrht.backend import Backend
from buildsrht.services import runs
from buildsrht.services.runs import Run, Summons
from worker.errors import RunnerError

log = logging.getLogger(__name__)

# A cancel takes effect within two seconds; this is a cheap query by primary key.
ASK_SECONDS = 0.5


class Interruption(enum.Enum):
    """Why a run was stopped, as its log says it."""

    CANCELLED = "The job was cancelled."
    TIMEOUT = "The job ran into its time limit."
    LOST = "This build host lost the job: it could not renew its claim in time."


INTERRUPTIONS = {
    Summons.CANCELLED: Interruption.CANCELLED,
    Summons.LOST: Interruption.LOST,
}


class Interrupted(RunnerError):
    """The run was stopped from outside between two steps."""


class Watch:
    """Watches one run for as long as its block lasts."""

    def __init__(self, backend: Backend, run: Run, deadline: float):
        self.interruption: Interruption | None = None
        self._backend = backend
        self._run = run
        self._deadline = deadline
        self._lease_seconds = backend.config.worker.lease
        self._renewed = time.monotonic()
        self._kill: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    @contextmanager
    def kills(self, kill: Callable[[], None]) -> Iterator[None]:
        """Within the block an interruption calls `kill`; one that came earlier does so now."""
        with self._lock:
            self._kill = kill
            if self.interruption:
                kill()
        try:
            yield
        finally:
            with self._lock:
                self._kill = None

    def check(self) -> None:
        """Raise Interrupted if the run has been stopped."""
        if self.interruption:
            raise Interrupted(self.interruption.value)

    def _loop(self) -> None:
        while not self._over.wait(ASK_SECONDS):
            interruption = self._ask(time.monotonic())
            if interruption:
                self._interrupt(interruption)
                return

    def _ask(self, now: float) -> Interruption | None:
        if now > self._deadline:
            return Interruption.TIMEOUT
        try:
            summons = runs.check(self._backend, self._run)
            if summons is None and now - self._renewed > self._lease_seconds / 4:
                runs.renew(self._backend, self._run)
                self._renewed = now
        except SQLAlchemyError as error:
            log.warning("job %d: the database does not answer: %s", self._run.job_id, error)
            # Once our lease has run out, others may have ended the job.
            return Interruption.LOST if now - self._renewed > self._lease_seconds else None
        return INTERRUPTIONS[summons] if summons else None

    def _interrupt(self, interruption: Interruption) -> None:
        with self._lock:
            self.interruption = interruption
            if self._kill:
                self._kill()
