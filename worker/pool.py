"""RQ's worker pool, with our terms: JSON only, no child outlives its parent, and whoever sees a
work horse die clears up after it at once."""

import logging
from contextlib import closing
from typing import Any

from redis import Redis
from rq import Worker
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

from buildsrht import config as settings
from buildsrht import queue
from buildsrht.backend import open_backend

# Imported before the fork, so that each work horse starts with it loaded.
from worker import run_job  # noqa: F401
from worker.janitor import sweep_host
from worker.processes import die_with_parent


class JobWorker(Worker):
    """One slot: takes a job id from the queue and forks a work horse for it."""

    def work(self, *args: Any, **kwargs: Any) -> bool:
        die_with_parent()
        kwargs["with_scheduler"] = False
        return super().work(*args, **kwargs)

    def handle_work_horse_killed(self, job: RqJob, *ended: Any) -> None:
        super().handle_work_horse_killed(job, *ended)
        with closing(open_backend(settings.load())) as backend:
            sweep_host(backend)


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
