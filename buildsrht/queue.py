"""The queues' sending side: the id of a row goes in, and nothing else.

Redis is transport. A queue may lose entries (a wiped Redis) or hold one twice (two senders): the
database says what waits, a claim decides who does it, and `enqueued_ids` lets the janitor find
what is missing. Payloads are JSON: a pickle from a shared Redis would be code.

Jobs have a queue for each route, which is all that decides what build host can run one. An entry
there wakes a slot of such a host; which job that one takes, the database decides
(buildsrht.services.dispatch). So what matters is that a route has as many entries as jobs wait for
it, not whose they are.
"""

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

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
# How many entries of one route are put back in one go. Somebody does so every two seconds, and has
# other things to do meanwhile: a hundred thousand would take ten seconds.
MOST_AT_ONCE = 1000
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


class Route(NamedTuple):
    """What a build host must have to run a job."""

    image: str
    arch: str
    labels: tuple[str, ...] = ()

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return ":".join([NAME, self.image, self.arch, ",".join(self.labels)])

    @classmethod
    def of_queue(cls, name: str) -> "Route | None":
        """The route that has the queue of this name; None if it is none of ours."""
        match name.split(":"):
            case [prefix, image, arch, labels] if prefix == NAME:
                return cls(image, arch, tuple(labels.split(",")) if labels else ())
        return None


class IdQueue:
    """One RQ queue, of the ids of one kind of row, for one function."""

    def __init__(
        self, redis: Redis, name: str, kind: str, function: str, timeout: int, again: str = ""
    ):
        self._kind = kind
        self._function = function
        self._suffix = f"-{again}" if again else ""
        # Whatever else somebody puts into our queue is not ours.
        self._ours = re.compile(rf"{kind}-(\d{{1,10}})(-[0-9a-f]{{8}})?")
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
        return f"{self._kind}-{row_id}{self._suffix}"


class JobQueue:
    """The queues of jobs: one for each route."""

    def __init__(self, redis: Redis, timeout: int):
        self._redis = redis
        self._timeout = timeout
        # Nothing is sent here. Every slot listens here besides, so it has the list of all slots.
        self._slots = Queue(NAME, connection=redis, serializer=JSONSerializer)

    def enqueue(self, route: Route, *job_ids: int) -> None:
        """Wake as many slots as these are, for jobs that were never sent before."""
        self._queue(route).enqueue(*job_ids)

    def enqueue_again(self, route: Route, *job_ids: int) -> None:
        """The same for jobs that may have been sent before: the entry of one may be in use still,
        by a slot that was woken by it and took another job."""
        self._queue(route, again=secrets.token_hex(4)).enqueue(*job_ids)

    def discard(self, route: Route, job_id: int) -> None:
        """Take a job's first entry out again, if it is still waiting here."""
        self._queue(route).discard(job_id)

    def enqueue_missing(self, route: Route, job_ids: Sequence[int]) -> list[int]:
        """See that as many entries wait on the route as these jobs are, in steps of `MOST_AT_ONCE`.
        Returns those sent."""
        present = self._queue(route).enqueued_ids()
        missing = [job_id for job_id in job_ids if job_id not in present]
        sent = missing[: min(MOST_AT_ONCE, max(0, len(job_ids) - len(present)))]
        if sent:
            self.enqueue_again(route, *sent)
        return sent

    def enqueued_ids(self) -> set[int]:
        """Of all routes, the jobs whose entries wait."""
        return {job_id for each in self.routes() for job_id in self._queue(each).enqueued_ids()}

    def routes(self) -> list[Route]:
        return known_routes(self._redis)

    def slots(self, host: str | None = None) -> Slots:
        """Those of all workers that are alive, each of which is one slot; or of one host's, by the
        name that its system has."""
        heard_since = datetime.now(UTC) - SILENCE
        states = Counter(
            worker.get_state()
            for worker in Worker.all(queue=self._slots, serializer=JSONSerializer)
            if worker.last_heartbeat and worker.last_heartbeat > heard_since
            if host in (None, worker.hostname)
        )
        return Slots(states.total(), states[WorkerStatus.BUSY], states[PAUSED])

    def _queue(self, route: Route, again: str = "") -> IdQueue:
        return IdQueue(self._redis, route.queue, "job", RUN_JOB, self._timeout, again)


def job_queue(redis: Redis, job_timeout: int) -> JobQueue:
    return JobQueue(redis, job_timeout + GRACE_SECONDS)


def known_routes(redis: Redis) -> list[Route]:
    """All routes that jobs have come by, in the order of their names."""
    names = (queue.name for queue in Queue.all(redis, serializer=JSONSerializer))
    return sorted(route for name in names if (route := Route.of_queue(name)))


def queues(redis: Redis, routes: Iterable[Route]) -> list[Queue]:
    """Where a slot listens that can serve these routes."""
    names = [NAME, *(route.queue for route in routes)]
    return [Queue(name, connection=redis, serializer=JSONSerializer) for name in names]


def delivery_queue(redis: Redis) -> IdQueue:
    return IdQueue(redis, DELIVERIES, "delivery", DELIVER, DELIVERY_SECONDS)


def push_queue(redis: Redis) -> IdQueue:
    return IdQueue(redis, PUSHES, "push", BUILD_PUSH, ERRAND_SECONDS)


def reset_queue(redis: Redis) -> IdQueue:
    return IdQueue(redis, RESETS, "reset", MAIL_RESET, DELIVERY_SECONDS)
