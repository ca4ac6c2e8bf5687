"""What the processes of this service say of themselves on standard error, a line for each thing.

As text for people, or as JSON for programs that gather the lines of many hosts; in both each line
about a job has the job's number, and in JSON that is a field of its own:

    time      when, in UTC, to the millisecond
    level     debug, info, warning or error
    host      the name of the build host, `[worker] name`
    part      what said it: web, worker, janitor, courier or gateway
    logger    the module that said it
    message   what it said
    job, attempt, request   what it is about, as far as it is about one
    error     the traceback, if there is one

What libraries say goes the same way. Knows nothing of the logs of jobs, which are builds' output.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from buildsrht.config import Config

SUBJECTS = ("job", "attempt", "request")
# These say at `info` what is of no use to an operator. asyncssh would even tell the commands that
# people run.
QUIET = ("alembic", "asyncssh", "httpx")

ONE_LINE = str.maketrans({"\n": "\\n", "\r": "\\r"})

_about: ContextVar[Mapping[str, Any] | None] = ContextVar("about", default=None)


def begin(config: Config, part: str) -> None:
    """Write from now on what this process says, in the way that the operator wants it. Once, by
    whoever owns the process: where somebody listens already, nothing is changed."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        Json(config.worker.name, part) if config.journal.format == "json" else Text()
    )
    handler.addFilter(add_subject)
    logging.basicConfig(level=config.journal.level.upper(), handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def about(**subject: Any) -> Iterator[None]:
    """What is said in this block, by this thread and those that get its context, is about that:
    `job` and `attempt`, or `request`."""
    before = _about.set({**(_about.get() or {}), **subject})
    try:
        yield
    finally:
        _about.reset(before)


def of_job(job_id: int, attempt: int | None = None) -> dict[str, int]:
    """For `extra` of a single line that is about a job."""
    return {"job": job_id, **({} if attempt is None else {"attempt": attempt})}


def add_subject(record: logging.LogRecord) -> bool:
    for name, value in (_about.get() or {}).items():
        # What the line itself says it is about goes first.
        record.__dict__.setdefault(name, value)
    return True


def subject_of(record: logging.LogRecord) -> dict[str, Any]:
    return {name: record.__dict__[name] for name in SUBJECTS if name in record.__dict__}


class Text(logging.Formatter):
    """2026-01-31 12:00:00,000 worker.watch: job=17 attempt=1: the database does not answer"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s: %(subject)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        said = " ".join(f"{name}={value}" for name, value in subject_of(record).items())
        record.subject = said and f"{said}: "
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        # Whatever is quoted there begins no line of its own. A traceback does.
        return super().formatMessage(record).translate(ONE_LINE)


class Json(logging.Formatter):
    """One object on one line, whatever is in it."""

    def __init__(self, host: str, part: str) -> None:
        super().__init__()
        self._said_by = {"host": host, "part": part}

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            **self._said_by,
            "logger": record.name,
            "message": record.getMessage(),
            **subject_of(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
