"""What may end a job from outside while it runs: its owner, its deadline, a lost lease.

When one of them says stop, the machine is destroyed, which wakes whoever waits for the machine's
answer; the reason is left in `interruption`.
"""

import enum
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from buildsrht.backend import Backend
from buildsrht.services import runs
from buildsrht.services.runs import Run, Summons
from worker.errors import RunnerError

log = logging.getLogger(__name__)

# A cancel takes effect within two seconds; this is a cheap query by primary key.
ASK_SECONDS = 0.5
CLOCK_SECONDS = 0.25
JOIN_SECONDS = 5


class Interruption(enum.Enum):
    """Why a run was stopped, as its log says it."""

    CANCELLED = "The job was cancelled."
    TIMEOUT = "The job ran into its time limit."
    HANDED_BACK = "This build host is being stopped, and gives the job back."
    LOST = "This build host lost the job: it was not heard of in time."


INTERRUPTIONS = {
    Summons.CANCELLED: Interruption.CANCELLED,
    Summons.LOST: Interruption.LOST,
}


class Interrupted(RunnerError):
    """The run was stopped from outside between two steps."""


class Watch:
    """Watches one run for as long as its block lasts.

    One thread asks the database, another only looks at the clock: a database that swallows a
    question must not stop the time.
    """

    def __init__(self, backend: Backend, run: Run, deadline: float):
        self.interruption: Interruption | None = None
        self._backend = backend
        self._run = run
        self._deadline = deadline
        self._lease_seconds = backend.config.worker.lease
        self._patience_seconds = backend.config.worker.patience
        self._renewed = self._heard = time.monotonic()
        self._kill: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._is_unwanted = threading.Event()
        # One that may not be begun again is not handed back.
        self._is_kept = run.attempt >= backend.config.worker.attempts
        self._threads = [
            # With the context of whoever watches: what it says is about this job.
            threading.Thread(target=copy_context().run, args=(loop,), name=name, daemon=True)
            for name, loop in (("ask", self._ask_often), ("clock", self._watch_the_clock))
        ]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            # One that still waits for the database ends with the process.
            thread.join(JOIN_SECONDS)

    @contextmanager
    def kills(self, kill: Callable[[], None]) -> Iterator[None]:
        """Within the block an interruption calls `kill`; one that came earlier does so now.

        A block within a block takes its place until it ends.
        """
        with self._lock:
            outer, self._kill = self._kill, kill
            if self.interruption:
                kill()
        try:
            yield
        finally:
            with self._lock:
                self._kill = outer

    def hand_back(self) -> None:
        """Interrupt the run soon, unless a task of it begins before. Safe in a signal handler."""
        self._is_unwanted.set()

    def keep(self) -> None:
        """From now on the run is not handed back: what it does cannot be done again. Raises
        Interrupted if it has been stopped."""
        with self._lock:
            self.check()
            self._is_kept = True

    def let_go(self) -> None:
        """From now on no interruption ends a machine: the run is about to be over by itself."""
        with self._lock:
            self._kill = None

    def check(self) -> None:
        """Raise Interrupted if the run has been stopped."""
        if self.interruption:
            raise Interrupted(self.interruption.value)

    def _watch_the_clock(self) -> None:
        while not self._over.wait(CLOCK_SECONDS):
            now = time.monotonic()
            if self._is_unwanted.is_set():
                self._interrupt(Interruption.HANDED_BACK)
            if now > self._deadline:
                self._interrupt(Interruption.TIMEOUT)
            # A database that is away for a moment hurts nobody: whoever gave the job up meanwhile
            # has seen to it that nothing we write is taken.
            if now > self._heard + self._patience_seconds:
                self._interrupt(Interruption.LOST)

    def _ask_often(self) -> None:
        """Goes on after an interruption: until the run has ended, its lease is needed."""
        while not self._over.wait(ASK_SECONDS):
            try:
                self._ask()
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", error)

    def _ask(self) -> None:
        asked = time.monotonic()
        summons = runs.check(self._backend, self._run)
        self._heard = asked
        if summons:
            self._interrupt(INTERRUPTIONS[summons])
        if asked > self._renewed + self._lease_seconds / 4:
            runs.renew(self._backend, self._run)
            self._renewed = asked

    def _interrupt(self, interruption: Interruption) -> None:
        with self._lock:
            if interruption is Interruption.HANDED_BACK and self._is_kept:
                return
            # The first one stands, but for a lost lease: then the job is not ours to end.
            if self.interruption is None or interruption is Interruption.LOST:
                self.interruption = interruption
            if self._kill:
                self._kill()
