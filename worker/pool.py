"""RQ's worker pool, with our terms: JSON only, no child outlives its parent, and whoever sees a
work horse die clears up after it at once.

A worker forks for every job, so it must never open a backend itself: the storage's threads would
not be there in the work horse, which would wait for them for ever.
"""

import logging
import subprocess
import sys
from typing import Any

from redis import Redis
from rq import Worker
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

from buildsrht import queue

# Imported before the fork, so that each work horse starts with it loaded.
from worker import run_job  # noqa: F401
from worker.processes import die_with_parent

log = logging.getLogger(__name__)

SWEEP_SECONDS = 60


class JobWorker(Worker):
    """One slot: takes a job id from the queue and forks a work horse for it."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        die_with_parent()
        kwargs["with_scheduler"] = False
        return super().work(*args, **kwargs)

    def handle_work_horse_killed(self, job: RqJob, *ended: Any) -> None:
        super().handle_work_horse_killed(job, *ended)
        sweep_once()


def sweep_once() -> None:
    """Clear away what dead runs left on this host, in a process of its own.

    What it does not manage, the janitor does a few seconds later.
    """
    command = [sys.executable, "-P", "-m", "worker", "janitor", "--once"]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=SWEEP_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        log.warning("a dead run is not cleared away yet: %s", error)


def run_pool(redis: Redis, count: int) -> None:
    """Run `count` workers until SIGTERM or SIGINT; jobs that run are finished first, and a second
    signal ends them."""
    pool = WorkerPool(
        [queue.NAME],
        connection=redis,
        num_workers=count,
        worker_class=JobWorker,
        serializer=JSONSerializer,
    )
    pool.start(logging_level=logging.getLevelName(logging.WARNING))
