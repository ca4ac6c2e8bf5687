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
    key_id: int


@dataclass(frozen=True)
class Service:
    backend: Backend
    open_machine: OpenMachine
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAKING))
    _waking: dict[int, asyncio.Task[Path]] = field(default_factory=dict)

    async def ask(self, question: Callable[..., Answer], *arguments: object) -> Answer:
        return await asyncio.to_thread(question, *arguments)

    async def wake(self, job_id: int) -> Path:
        """The socket at which a job's kept machine is visited, once it runs.

        All who want the same machine wait for the same thread. It goes on when they leave, so that
        whoever comes and goes again and again has no more of them.
        """
        waking = self._waking.get(job_id)
        if waking is None:
            waking = self._waking[job_id] = asyncio.create_task(self._wake(job_id))
            waking.add_done_callback(lambda done: self._forget(job_id, done))
        return await asyncio.shield(waking)

    async def _wake(self, job_id: int) -> Path:
        async with self._room:
            return await _in_thread(lambda: self.open_machine(self.backend.config, job_id))

    def _forget(self, job_id: int, done: asyncio.Task[Path]) -> None:
        del self._waking[job_id]
        # Everybody who wanted to know may have left, which is not worth a warning.
        if not done.cancelled():
            done.exception()


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
