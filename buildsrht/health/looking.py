"""What a job needs, asked all at once, and waited for until a deadline: what does not answer by
then is away.

Who was asked and did not answer is not asked again before it does, so that whatever hangs holds one
thread and not one for each question.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from redis.exceptions import RedisError
from sqlalchemy import exists, func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.models import (
    Delivery,
    DeliveryStatus,
    Duty,
    Job,
    Push,
    PushStatus,
    Runner,
    RunnerState,
)
from buildsrht.queue import SILENCE, Slots
from buildsrht.services import duties, overview, waiting
from buildsrht.services.waiting import WaitCode
from buildsrht.storage import StorageError

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
# What was seen is good for as long, so that however often somebody asks costs little.
GOOD_SECONDS = 1.0
# Overwritten by whoever looks, and never removed: so nothing is left behind, whoever is killed.
PROBE = "health/probe"
OVERDUE = timedelta(minutes=1)
# Jobs that nobody can run, or whose owner has enough that run, say nothing of those after them.
MOST_PASSED = 10


class Waiting(NamedTuple):
    """A job that waits: for how many seconds, and what keeps it from being begun."""

    seconds: float
    why: frozenset[WaitCode]


@dataclass(frozen=True)
class Service:
    """What the database says. Of the jobs that wait it names the oldest; and where that is kept by
    what does not keep all others, the oldest of these."""

    janitor_silent: float | None
    active: int
    silent: int
    waiting: tuple[Waiting, ...]
    late_deliveries: bool
    late_pushes: bool


@dataclass(frozen=True)
class Vitals:
    """What was seen; None of what does not answer."""

    service: Service | None
    slots: Slots | None
    storage: bool | None


class Look:
    """Looks at one backend, for whoever asks."""

    def __init__(self, backend: Backend):
        self._probes = {
            "service": _Probe("database", lambda: _ask_database(backend)),
            "slots": _Probe("redis", backend.queue.slots),
            "storage": _Probe("storage", lambda: _try_storage(backend)),
        }
        self._lock = threading.Lock()
        self._seen: Vitals | None = None
        self._until = 0.0

    def __call__(self) -> Vitals:
        with self._lock:
            if self._seen is None or time.monotonic() > self._until:
                self._seen = self._look()
                self._until = time.monotonic() + GOOD_SECONDS
            return self._seen

    def _look(self) -> Vitals:
        for probe in self._probes.values():
            probe.begin()
        deadline = time.monotonic() + ANSWER_SECONDS
        return Vitals(**{name: probe.answer(deadline) for name, probe in self._probes.items()})


class _Probe:
    """A question that may hang."""

    def __init__(self, name: str, ask: Callable[[], Any]):
        self._name = name
        self._ask = ask
        self._answer: Any = None
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._answer = None
            self._answered.clear()
            self._thread = threading.Thread(target=self._run, name="health", daemon=True)
            self._thread.start()

    def answer(self, deadline: float) -> Any:
        self._answered.wait(max(0.0, deadline - time.monotonic()))
        return self._answer if self._answered.is_set() else None

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except (SQLAlchemyError, RedisError, StorageError, OSError) as error:
            said = str(error).partition("\n")[0]
            log.warning("%s: %s: %s", self._name, type(error).__name__, said)
        self._answered.set()


def _try_storage(backend: Backend) -> bool:
    backend.storage.put(PROBE, [b"written by whoever looked last\n"])
    return bool(backend.storage.read_all(PROBE))


def _ask_database(backend: Backend) -> Service:
    is_silent = Runner.seen <= func.now() - SILENCE
    hosts = select(func.count().filter(~is_silent), func.count().filter(is_silent))
    with backend.transaction() as session:
        heard = func.extract("epoch", func.clock_timestamp() - Duty.heard)
        silent = session.scalar(select(heard).where(Duty.name == duties.JANITOR))
        active, missing = session.execute(hosts.where(Runner.state == RunnerState.ACTIVE)).one()
        waits = tuple(_who_waits(backend, session))
        late = [
            session.scalar(
                select(exists().where(of.status == waits, of.due < func.now() - OVERDUE))
            )
            for of, waits in ((Delivery, DeliveryStatus.WAITING), (Push, PushStatus.WAITING))
        ]
    return Service(
        janitor_silent=None if silent is None else float(silent),
        active=active,
        silent=missing,
        waiting=waits,
        late_deliveries=bool(late[0]),
        late_pushes=bool(late[1]),
    )


def _who_waits(backend: Backend, session: Session) -> Iterator[Waiting]:
    others: list[ColumnElement[bool]] = []
    while len(others) < MOST_PASSED and (job := overview.oldest_waiting(session, *others)):
        waited = session.scalar(select(func.extract("epoch", func.now() - job.queued)))
        why = frozenset(reason.code for reason in waiting.reasons(backend, job))
        yield Waiting(float(waited or 0), why)
        if WaitCode.NO_FITTING_HOST in why:
            route = tuple_(Job.image, Job.arch, Job.labels)
            others.append(route != tuple_(job.image, job.arch, job.labels))
        elif WaitCode.LIMIT in why:
            others.append(Job.owner_id != job.owner_id)
        else:
            return
