"""The queues' sending side: the id of a row goes in, and nothing else.

Redis is transport. A queue may lose entries (a wiped Redis) or hold one twice (two senders): the
database says what waits, a claim decides who does it, and `enqueued_ids` lets the janitor find
what is missing. Payloads are JSON: a pickle from a shared Redis would be code.
"""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from redis import Redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

NAME = "buildsrht"
DELIVERIES = "buildsrht-deliveries"
PUSHES = "buildsrht-pushes"
RESETS = "buildsrht-resets"
# By name: the web service imports neither the worker nor the courier.
RUN_JOB = "worker.run_job.run_job"
DELIVER = "buildsrht.courier.deliver"
BUILD_PUSH = "buildsrht.courier.build_push"
MAIL_RESET = "buildsrht.courier.mail_reset"
# The worker keeps the job's deadline itself. RQ's own limit only catches one that hangs, so it
# leaves time for the end of a job: sealing logs, waiting for a busy disk, keeping its machine.
GRACE_SECONDS = 600
# One look at a forge has deadlines of its own that are far below this.
ERRAND_SECONDS = 300
# So has a delivery. RQ kills what goes on for a minute longer, and by then, as services.triggers
# relies on, no courier attempts it any more.
DELIVERY_SECONDS = 110
# A worker says every 30 seconds that it is alive, or more often. RQ itself believes one that was
# killed to be there for some minutes.
SILENCE = timedelta(seconds=90)
# What a worker that is there and takes nothing calls itself, in RQ's words.
PAUSED = WorkerStatus.SUSPENDED


class Slots(NamedTuple):
    """How many rows may be dealt with at once, and how many of these places are taken."""

    all: int
    busy: int
    paused: int

    @property
    def free(self) -> int:
        return self.all - self.busy - self.paused


class IdQueue:
    """One RQ queue, of the ids of one kind of row, for one function."""

    def __init__(self, redis: Redis, name: str, kind: str, function: str, timeout: int):
        self._kind = kind
        self._function = function
        # Whatever else somebody puts into our queue is not ours.
        self._ours = re.compile(rf"{kind}-(\d{{1,10}})")
        self._queue = Queue(
            name, connection=redis, serializer=JSONSerializer, default_timeout=timeout
        )

    def enqueue(self, *row_ids: int) -> None:
        # A batch, also of one: RQ sends a batch in one transaction, and a single entry in two.
        entries = [
            Queue.prepare_data(
                self._function,
                (row_id,),
                job_id=self._name(row_id),
                description=f"{self._kind} {row_id}",
                result_ttl=0,
                failure_ttl=0,
            )
            for row_id in row_ids
        ]
        self._queue.enqueue_many(entries)

    def discard(self, row_id: int) -> None:
        """Take an entry out again, if it is still waiting here."""
        entry = self._queue.fetch_job(self._name(row_id))
        if entry and self._queue.remove(entry):
            entry.delete(remove_from_queue=False)

    def enqueued_ids(self) -> set[int]:
        """What waits in Redis; a worker that takes an entry removes it before it claims its row."""
        found = (self._ours.fullmatch(name) for name in self._queue.job_ids)
        return {int(match[1]) for match in found if match}

    def position(self, row_id: int) -> int | None:
        """How many entries are before it; None if it does not wait here."""
        return cast(int | None, self._queue.connection.lpos(self._queue.key, self._name(row_id)))

    def slots(self, host: str | None = None) -> Slots:
        """Those of all workers that are alive, each of which is one slot; or of one host's, by the
        name that its system has."""
        heard_since = datetime.now(UTC) - SILENCE
        states = Counter(
            worker.get_state()
            for worker in Worker.all(queue=self._queue, serializer=JSONSerializer)
            if worker.last_heartbeat and worker.last_heartbeat > heard_since
            if host in (None, worker.hostname)
        )
        return Slots(states.total(), states[WorkerStatus.BUSY], states[PAUSED])

    def enqueue_missing(self, row_ids: Sequence[int]) -> list[int]:
        """Send those of the rows that do not wait in Redis. Returns their ids."""
        if not row_ids:
            return []
        present = self.enqueued_ids()
        missing = [row_id for row_id in row_ids if row_id not in present]
        if missing:
            self.enqueue(*missing)
        return missing

    def _name(self, row_id: int) -> str:
        return f"{self._kind}-{row_id}"


def job_queue(redis: Redis, job_timeout: int) -> IdQueue:
    return IdQueue(redis, NAME, "job", RUN_JOB, job_timeout + GRACE_SECONDS)


def delivery_queue(redis: Redis) -> IdQueue:
    return IdQueue(redis, DELIVERIES, "delivery", DELIVER, DELIVERY_SECONDS)


def push_queue(redis: Redis) -> IdQueue:
    return IdQueue(redis, PUSHES, "push", BUILD_PUSH, ERRAND_SECONDS)


def reset_queue(redis: Redis) -> IdQueue:
    return IdQueue(redis, RESETS, "reset", MAIL_RESET, DELIVERY_SECONDS)
