"""The logs that one run writes: the setup log, then one per task.

Writes go to spool files in the run's directory and to the live readers (buildsrht.logs); at the
end everything is sealed into storage. Together they may not exceed the operator's limit. What was
named by `mask` is in none of them.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.logs import MARKS, LogName, LogWriter, marks_of, spool_chunks, spool_marks
from buildsrht.models import Job, JobStatus
from buildsrht.services.retries import Written, hand_back
from worker.disguises import disguises, is_partly_too_short
from worker.errors import RunnerError
from worker.masking import Masker
from worker.patience import patiently

SPOOL = "spool"
SpooledLog = tuple[LogName, Path]
Result = TypeVar("Result")


def _nothing(_: Session) -> Any:
    return None


class OutputLimitReached(RunnerError):
    """The job wrote more than it may; the log ends with a line that says so."""


class Logbook:
    """`setup` stays open to the end; `current` is the log of what is going on now."""

    def __init__(self, backend: Backend, job_id: int, attempt: int, directory: Path):
        self._backend = backend
        self._job_id = job_id
        self._attempt = attempt
        self._directory = directory / SPOOL
        self._directory.mkdir()
        if attempt > 1:
            self._go_on_from_earlier()
        self._left = backend.config.limits.log
        self._hidden: set[bytes] = set()
        self._masker: Masker | None = None
        self._has_warned = False
        self.setup = self._open(None)
        self.current = self.setup

    def _open(self, task_id: int | None) -> LogWriter:
        name = LogName(self._job_id, task_id)
        spool = self._directory / spool_name(name)
        return LogWriter(self._backend.logs, name, self._attempt, spool)

    def _go_on_from_earlier(self) -> None:
        name = LogName(self._job_id, None)
        spool = self._directory / spool_name(name)
        data, marks = self._backend.logs.earlier(name)
        spool.write_bytes(data)
        marks_of(spool).write_bytes(marks)

    def mask(self, values: Iterable[bytes]) -> None:
        """From now on no log shows any of these secrets, as far as worker.disguises knows them."""
        self._flush()
        for value in values:
            self._hidden |= disguises(value)
            if is_partly_too_short(value) and not self._has_warned:
                self.say("A secret, or a part of one, is too short to be masked in logs.")
                self._has_warned = True
        if self._hidden:
            self._masker = Masker(self._hidden)

    def start_task(self, task_id: int) -> None:
        self._flush()
        self.current = self._open(task_id)

    def end_task(self) -> None:
        self._flush()
        self.current.close()
        self._seal(self.current.name)
        self.current = self.setup

    def write(self, data: bytes) -> None:
        """Output of the job, to the current log. Raises OutputLimitReached at the limit."""
        held = 0
        if self._masker:
            data = self._masker.feed(data)
            held = self._masker.held
        # What is held back counts too, so that there is room for it when it comes out.
        is_too_much = len(data) + held > self._left
        self._write_counted(data[: self._left])
        if is_too_much:
            if self._masker:
                self._masker.drop()
            limit = self._backend.config.limits.log
            raise OutputLimitReached(
                f"The job wrote more than the {limit} bytes that it may; its log is cut here."
            )

    def say(self, line: str) -> None:
        """A line of ours, to the current log. Never refused: these are few and short."""
        self._flush()
        self.current.write(self._masked(f"{line}\n"))

    def shown(self, text: str) -> str:
        """A text of ours as the logs show it."""
        self._flush()
        return self._masked(text).decode(errors="replace")

    def _masked(self, text: str) -> bytes:
        """When nothing is held back."""
        said = text.encode(errors="replace")
        return self._masker.feed(said) + self._masker.flush() if self._masker else said

    def _flush(self) -> None:
        """What was held back, to the current log: whatever comes next does not continue it."""
        if self._masker:
            self._write_counted(self._masker.flush())

    def _write_counted(self, data: bytes) -> None:
        self._left -= len(data)
        self.current.write(data)

    def hand_back(self, cause: str) -> bool:
        """Have the job begun again, and leave its log, which says the cause, to the next attempt;
        False if it is not to be begun again."""
        self._flush()
        found = spooled_logs(self._job_id, self._directory.parent)
        job = (self._job_id, self._attempt)
        is_handed_back = patiently(
            lambda: hand_back_spooled(self._backend, *job, cause, found, is_said=True),
            self._backend.config.worker.patience,
        )
        if is_handed_back:
            self.setup.close()
        return is_handed_back

    def close(self, last: Callable[[Session], Result] = _nothing) -> Result:
        """Seal every log, and do `last` in the transaction of the last one: both or neither.

        Returns what that returns. Afterwards the spool is not needed any more."""
        if self.current is not self.setup:
            self.end_task()
        self._flush()
        self.setup.close()
        return self._seal(self.setup.name, last)

    def _seal(self, name: LogName, last: Callable[[Session], Result] = _nothing) -> Result:
        spool = self._directory / spool_name(name)
        patience = self._backend.config.worker.patience
        return patiently(
            lambda: seal_spool(self._backend, name, self._attempt, spool, last=last), patience
        )


def spool_name(name: LogName) -> str:
    return str(name.task_id or "setup")


def seal_spool(
    backend: Backend,
    name: LogName,
    attempt: int,
    spool: Path,
    *,
    last_words: bytes = b"",
    last: Callable[[Session], Result] = _nothing,
) -> Result:
    """Move one spool file into storage, and the log with it out of Redis; and do `last` in the same
    transaction, and return what that returns.

    `last_words` end the sealed log. The spool stays as it is until then, so that trying again
    after an error says them once.
    """
    with backend.transaction() as session:
        chunks = chain(spool_chunks(spool), [last_words])
        is_ours = backend.logs.seal(session, name, attempt, chunks, spool_marks(spool))
        result = last(session)
    if is_ours:
        backend.logs.drop_live(name, attempt)
    spool.unlink()
    marks_of(spool).unlink(missing_ok=True)
    return result


def seal_unwritten(backend: Backend, job_id: int, attempt: int, last_words: bytes) -> None:
    """The same of the setup log, by a run that was lost before it had a spool."""
    name = LogName(job_id, None)
    data, marks = backend.logs.since_first_attempt(name, b"", b"")
    with backend.transaction() as session:
        is_ours = backend.logs.seal(session, name, attempt, iter([data, last_words]), marks)
    if is_ours:
        backend.logs.drop_live(name, attempt)


def hand_back_spooled(
    backend: Backend,
    job_id: int,
    attempt: int,
    cause: str,
    logs: list[SpooledLog],
    *,
    is_said: bool = False,
) -> bool:
    """Have a job begun again that a run on this host has left, if its logs are the setup log only;
    the next attempt's goes on from there. See buildsrht.services.retries."""
    if any(name.task_id is not None for name, _ in logs):
        return False
    is_left = (Job.id == job_id) & (Job.status == JobStatus.RUNNING) & (Job.attempt == attempt)

    def written() -> Written:
        found = [(spool.read_bytes(), spool_marks(spool)) for _, spool in logs]
        return found[0] if found else (b"", b"")

    return hand_back(backend, is_left, cause, written, is_said=is_said)


def spooled_logs(job_id: int, directory: Path) -> list[SpooledLog]:
    """The logs that a run in `directory` has not sealed, the setup log first."""
    spools = sorted(
        (file for file in (directory / SPOOL).glob("*") if file.suffix != MARKS),
        key=lambda spool: (spool.name != "setup", len(spool.name), spool.name),
    )
    return [
        (LogName(job_id, None if spool.name == "setup" else int(spool.name)), spool)
        for spool in spools
    ]
