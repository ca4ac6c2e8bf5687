"""What a session may ask of the rest of the service, without holding up other sessions.

Everything there blocks, so it is done in threads: short questions to the database in a pool, and
the waking of machines, which takes seconds and more, in threads of their own. Those end with the
process, however far they are: the keeper that they wait for lives on without us.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from buildsrht.backend import Backend
from buildsrht.config import Config
from buildsrht.models import User

# How many machines are waited for at once.
WAKING = 32

Answer = TypeVar("Answer")
OpenMachine = Callable[[Config, int], Path]


@dataclass(frozen=True)
class Visitor:
    """Who came in: a user, for one job alone if that was the name they came with."""

    user: User
    job_id: int | None
    address: str


@dataclass(frozen=True)
class Service:
    backend: Backend
    open_machine: OpenMachine
    _waking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAKING))

    async def ask(self, question: Callable[..., Answer], *arguments: object) -> Answer:
        return await asyncio.to_thread(question, *arguments)

    async def wake(self, job_id: int) -> Path:
        """The socket at which a job's kept machine is visited, once it runs."""
        async with self._waking:
            return await _in_thread(lambda: self.open_machine(self.backend.config, job_id))


async def _in_thread(action: Callable[[], Answer]) -> Answer:
    """Not in a pool: Python ends a process only when all threads of its pools have."""
    answer: Future[Answer] = Future()
    # Whoever waits may stop to; the thread goes on.
    answer.set_running_or_notify_cancel()

    def run() -> None:
        try:
            answer.set_result(action())
        except BaseException as error:  # noqa: BLE001 - it goes on where it is waited for
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True, name="waking").start()
    return await asyncio.wrap_future(answer)
