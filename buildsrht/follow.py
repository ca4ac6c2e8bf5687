"""Stay with a job until it is over, and print its logs while they grow.

Every byte comes out once, as it was written, each log's in order; a server that goes away for a
moment costs time and nothing else. The bytes go to `out`, and a line that names the log to stderr.

Knows nothing of HTTP: `Client` reads.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TypeVar

from buildsrht.client import UNFINISHED, Client, Job, Refused, ServerAway, Task

POLL_SECONDS = 0.3
# For who only wants to know how it ends.
LONGEST_POLL_SECONDS = 2.0
# How long a server may be away before we give up: for a restart, or a laptop that wakes up.
PATIENCE_SECONDS = 30
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 4.0
# How long the last bytes may take from the build host into storage once the job is over.
SEAL_SECONDS = 30

Answer = TypeVar("Answer")


def follow(client: Client, job_id: int, out: BinaryIO, task: str | None = None) -> str:
    """Print the logs of a job until it is over, or only those of `task`. Returns how it ended."""
    printer = LogPrinter(client, out, task)
    job = client.job(job_id)  # not patiently: a server that never answered is a wrong address
    while job["status"] in UNFINISHED:
        printer.catch_up(job)
        time.sleep(POLL_SECONDS)
        job = patiently(lambda: client.job(job_id))
    printer.finish(job)
    return job["status"]


def wait(client: Client, job_id: int) -> str:
    """Wait until a job is over. Returns how it ended."""
    pause = POLL_SECONDS
    job = client.job(job_id)
    while job["status"] in UNFINISHED:
        time.sleep(pause)
        pause = min(1.1 * pause, LONGEST_POLL_SECONDS)
        job = patiently(lambda: client.job(job_id))
    return job["status"]


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again and again while the server is away."""
    deadline = None
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return ask()
        except ServerAway as error:
            if deadline is None:
                # Not before: the answer itself may have taken long, until it broke off.
                deadline = time.monotonic() + PATIENCE_SECONDS
                _say(f"{error}; trying again")
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@dataclass
class _Log:
    title: str
    url: str
    size: int = 0
    complete: bool = False


class LogPrinter:
    """Knows how far each log of one job has been printed."""

    def __init__(self, client: Client, out: BinaryIO, task: str | None = None):
        self._client = client
        self._out = out
        self._task = task
        self._logs: dict[str, _Log] = {}
        self._current: _Log | None = None

    def catch_up(self, job: Job) -> None:
        """Print what was written since the last time."""
        # The current one first: what it got since then is older than what others got.
        for log in sorted(self._incomplete(job), key=lambda log: log is not self._current):
            self._copy(log)

    def finish(self, job: Job) -> None:
        """Print the rest of a job that is over, and wait for what is not in storage yet."""
        deadline = time.monotonic() + SEAL_SECONDS
        self.catch_up(job)
        while self._incomplete(job) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            self.catch_up(job)
        for log in self._incomplete(job):
            _say(f"the log of {log.title} may lack its end: it is not complete yet")

    def _incomplete(self, job: Job) -> list[_Log]:
        logs = [self._logs.setdefault(log.url, log) for log in _started(job, self._task)]
        return [log for log in logs if not log.complete]

    def _copy(self, log: _Log) -> None:
        """Print the rest of a log. A connection that breaks is taken up again where it broke."""
        while True:
            before = log.size
            try:
                log.complete = patiently(partial(self._read_rest, log))
                return
            except ServerAway:
                if log.size == before:
                    raise

    def _read_rest(self, log: _Log) -> bool:
        return self._client.read_log(log.url, log.size, partial(self._print, log))

    def _print(self, log: _Log, data: bytes) -> None:
        if data and log is not self._current:
            _say(f"== {log.title}")
            self._current = log
        self._out.write(data)
        self._out.flush()
        log.size += len(data)


def _started(job: Job, task: str | None) -> list[_Log]:
    """The logs that a build host writes or wrote: all of them in order, or only that of `task`."""
    tasks = job["tasks"] if task is None else [_require_task(job, task)]
    setup = [_Log("setup", job["setup_log"])] if task is None and job["runner"] else []
    return setup + [
        _Log(f"task {task['name']}", task["log"])
        for task in tasks
        if task["status"] not in ("pending", "skipped")
    ]


def _require_task(job: Job, name: str) -> Task:
    for task in job["tasks"]:
        if task["name"] == name:
            return task
    names = ", ".join(task["name"] for task in job["tasks"])
    raise Refused(f"job {job['id']} has no task {name}, only {names}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
