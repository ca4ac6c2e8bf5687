"""`buildsrht courier`: RQ's worker pool on the queues of deliveries, pushes and resets.

Each errand is done in a process of its own, which opens a backend of its own: the process that
forks never has one, because database connections and the storage's threads do not survive a fork.
None of these processes outlives its parent.

The queues take turns, so that many pushes do not hold up deliveries, nor the other way.
"""

import logging
from typing import Any

from redis import Redis
from rq.serializers import JSONSerializer
from rq.worker import RoundRobinWorker
from rq.worker_pool import WorkerPool

# Imported before the fork, so that each errand starts with it loaded.
from buildsrht.courier import delivery, reset  # noqa: F401
from buildsrht.hooks import building  # noqa: F401
from buildsrht.processes import die_with_parent
from buildsrht.queue import DELIVERIES, PUSHES, RESETS


class Courier(RoundRobinWorker):
    """Takes an id from the queues and forks a process for it."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        die_with_parent()
        kwargs["with_scheduler"] = False
        return super().work(*args, **kwargs)


def run_pool(redis: Redis, count: int) -> None:
    """Run `count` couriers until SIGTERM or SIGINT; errands that are being done are finished
    first, and a second signal ends them."""
    pool = WorkerPool(
        [DELIVERIES, PUSHES, RESETS],
        connection=redis,
        num_workers=count,
        worker_class=Courier,
        serializer=JSONSerializer,
    )
    pool.start(logging_level=logging.getLevelName(logging.WARNING))
