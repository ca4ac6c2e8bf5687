"""RQ's worker pool, with our terms: JSON only, no child outlives its parent, nobody takes a job
while the disk is short, and whoever sees a work horse die clears up after it at once.

A worker forks for every job, so it must never open a backend itself: the storage's threads would
not be there in the work horse, which would wait for them for ever.
"""

import logging
import math
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

from buildsrht import config as settings
from buildsrht import processes, queue
from buildsrht.config import Config
from buildsrht.processes import die_with_parent

# Imported before the fork, so that each work horse starts with it loaded.
from worker import run_job  # noqa: F401
from worker.disk_space import shortage

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "worker")
SWEEP_SECONDS = 60
STOP_SECONDS = 30
RESTART_SECONDS = 10
# How old a look at the disk may be when a job is taken.
LOOK_SECONDS = 2


class JobWorker(Worker):
    """One slot: takes a job id from the queue and forks a work horse for it."""

    _config: Config

    def work(self, *args: Any, **kwargs: Any) -> bool:
        die_with_parent()
        self._config = settings.load()
        kwargs["with_scheduler"] = False
        return super().work(*args, **kwargs)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[RqJob, Queue] | None:
        """The next job; it stays in the queue while the disk is short.

        Here RQ waits for minutes when it is idle. So it waits in pieces, with a look before each;
        `max_idle_time`, which cuts them, is nothing that we use.
        """
        while True:
            self._wait_for_disk()
            taken = super().dequeue_job_and_maintain_ttl(timeout, LOOK_SECONDS)
            # Without a timeout RQ does not wait at all: it ends when the queue is empty.
            if taken or timeout is None:
                return taken

    def _wait_for_disk(self) -> None:
        """As long as it takes, or until RQ's signal handler raises StopRequested."""
        while shortage(self._config):
            # A Redis that is away is for RQ to wait for, when there is room again.
            with suppress(RedisError):
                # Whoever asks why a job waits is told.
                self.set_state(queue.PAUSED)
                self.heartbeat()
            time.sleep(LOOK_SECONDS)

    def handle_work_horse_killed(self, job: RqJob, *ended: Any) -> None:
        super().handle_work_horse_killed(job, *ended)
        sweep_once()


def sweep_once() -> None:
    """Clear away what dead runs left on this host, in a process of its own.

    What it does not manage, the janitor does a few seconds later.
    """
    command = [*PROGRAM, "janitor", "--once"]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=SWEEP_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        log.warning("a dead run is not cleared away yet: %s", error)


class JobPool(WorkerPool):
    """All slots of this host; tells the log, once for all of them, why they take no job."""

    def __init__(self, config: Config, redis: Redis, count: int):
        super().__init__(
            [queue.NAME],
            connection=redis,
            num_workers=count,
            worker_class=JobWorker,
            serializer=JSONSerializer,
        )
        self.stock = StockProcess(config)
        self._config = config
        self._short = False

    def check_workers(self, respawn: bool = True) -> None:
        """What RQ does every second."""
        super().check_workers(respawn)
        self.stock.ensure()
        reason = shortage(self._config)
        if reason and not self._short:
            log.warning("%s", reason)
        elif self._short and not reason:
            log.warning("%s: room again; jobs are started", self._config.worker.path)
        self._short = reason is not None


class StockProcess:
    """The process that keeps spares, beside the workers that use them."""

    def __init__(self, config: Config):
        self._is_wanted = config.snapshots.enabled and config.snapshots.spares > 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = -math.inf

    def ensure(self) -> None:
        """Start it if it does not run."""
        if not self._is_wanted or (self._process and self._process.poll() is None):
            return
        if time.monotonic() < self._started + RESTART_SECONDS:
            return
        if self._process:
            log.warning("the stock of spares ended with status %d", self._process.returncode)
        self._started = time.monotonic()
        command = [*processes.dies_with_us(signal.SIGKILL), *PROGRAM, "stock"]
        self._process = processes.start(command)

    def stop(self) -> None:
        if self._process:
            processes.stop(self._process, signal.SIGTERM, STOP_SECONDS)


def run_pool(redis: Redis, count: int) -> None:
    """Run `count` workers until SIGTERM or SIGINT; jobs that run are finished first, and a second
    signal ends them."""
    pool = JobPool(settings.load(), redis, count)
    try:
        pool.start(logging_level=logging.getLevelName(logging.WARNING))
    finally:
        # Not before: a job may have borrowed its machine.
        pool.stock.stop()
