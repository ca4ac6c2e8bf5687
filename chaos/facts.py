"""What the database says while a run lasts, asked patiently: it may be the one that is away."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.1

Answer = TypeVar("Answer")


class Running(NamedTuple):
    """One attempt at a job that is under way."""

    job_id: int
    attempt: int
    runner: str
    has_begun: bool


@dataclass(frozen=True)
class Facts:
    engine: Engine

    def running(self) -> list[Running]:
        return [
            Running(*row)
            for row in self._ask(
                """
                SELECT id, attempt, runner, EXISTS (
                    SELECT FROM task WHERE job_id = job.id AND status <> 'pending'
                ) FROM job WHERE status = 'running' ORDER BY id
                """
            )
        ]

    def still_runs(self, attempt: Running) -> bool:
        found = self._ask(
            "SELECT 1 FROM job WHERE id = :id AND attempt = :attempt AND status = 'running'",
            id=attempt.job_id,
            attempt=attempt.attempt,
        )
        return bool(found)

    def is_waiting_in_vain(self, hosts: Sequence[str], slots: int) -> bool:
        """Whether a job is queued though one of these hosts has fewer running than its slots."""
        [[waiting]] = self._ask("SELECT EXISTS (SELECT FROM job WHERE status = 'queued')")
        busy = Counter(run.runner for run in self.running())
        return bool(waiting) and any(busy[host] < slots for host in hosts)

    def unfinished(self) -> int:
        [[count]] = self._ask(
            "SELECT count(*) FROM job WHERE status IN ('pending', 'queued', 'running')"
        )
        return int(count)

    def rows(self, statement: str) -> Sequence[Any]:
        return self._ask(statement)

    def _ask(self, statement: str, **values: Any) -> Sequence[Any]:
        def ask() -> Sequence[Any]:
            with self.engine.connect() as connection:
                return connection.execute(text(statement), values).all()

        return patiently(ask)


def patiently(ask: Callable[[], Answer]) -> Answer:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def facts_of(url: str) -> Facts:
    return Facts(create_engine(url, poolclass=NullPool))
