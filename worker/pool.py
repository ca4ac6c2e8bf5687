"""RQ's worker pool, with our terms: JSON only, no child outlives its parent, nobody takes a job
that this host cannot run now, and whoever sees a work horse die clears up after it at once.

SIGTERM drains: no slot takes another job, jobs of which no task has begun go back to the queue,
the others are run to their end. A second one ends them.

A worker forks for every job, so it must never open a backend itself: the storage's threads would
not be there in the work horse, which would wait for them for ever.
"""

import logging
import math
import os
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

from buildsrht import catalogue, processes, queue
from buildsrht import config as settings
from buildsrht.catalogue import Catalogue
from buildsrht.config import Config
from buildsrht.processes import die_with_parent
from buildsrht.queue import Route

# Imported before the fork, so that each work horse starts with it loaded.
from worker import intake
from worker.run_job import HAND_BACK

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "worker")
SWEEP_SECONDS = 60
STOP_SECONDS = 30
RESTART_SECONDS = 10
# How old a look at this host may be when a job is taken.
LOOK_SECONDS = 2
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class JobWorker(Worker):
    """One slot: takes a job id from the queue and forks a work horse for it."""

    # A queue that was away for a moment is asked again soon.
    max_connection_wait_time = 2.0
    _config: Config
    _catalogue: Catalogue

    def work(self, *args: Any, **kwargs: Any) -> bool:
        die_with_parent()
        # A work horse says itself when it can be asked for that.
        signal.signal(HAND_BACK, signal.SIG_IGN)
        self._config = settings.load()
        self._catalogue = catalogue.load(self._config.images.recipes)
        self._sweeps: list[subprocess.Popen[bytes]] = []
        kwargs["with_scheduler"] = False
        try:
            return super().work(*args, **kwargs)
        finally:
            for sweep in self._sweeps:
                sweep.wait()

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[RqJob, Queue] | None:
        """The next entry of a queue that this host can serve; none while it takes no job.

        Here RQ waits for minutes when it is idle. So it waits in pieces, with a look before each;
        `max_idle_time`, which cuts them, is nothing that we use.
        """
        while True:
            self._wait_until_open()
            self._choose_queues()
            taken = super().dequeue_job_and_maintain_ttl(timeout, LOOK_SECONDS)
            # Without a timeout RQ does not wait at all: it ends when the queue is empty.
            if taken or timeout is None:
                return taken

    def _wait_until_open(self) -> None:
        """As long as it takes, or until RQ's signal handler raises StopRequested."""
        while intake.refusal(self._config):
            # A Redis that is away is for RQ to wait for, when this host takes jobs again.
            with suppress(RedisError):
                # Whoever asks why a job waits is told.
                self.set_state(queue.PAUSED)
                self.heartbeat()
            time.sleep(LOOK_SECONDS)

    def _choose_queues(self) -> None:
        """Listen to every route that can be served here: those of images, which may have been built
        a moment ago, and those with labels, from when a job came by them."""
        offer = intake.offer(self._config, self._catalogue)
        routes = {Route(image, arch) for image, arch in offer.platforms}
        with suppress(RedisError):
            routes.update(filter(offer.fits, queue.known_routes(self.connection)))
        self.queues = queue.queues(self.connection, sorted(routes))
        self._ordered_queues = self.queues[:]

    def handle_warm_shutdown_request(self) -> None:
        super().handle_warm_shutdown_request()
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, HAND_BACK)

    def maintain_heartbeats(self, *run: Any) -> None:
        """RQ would end with a queue that is away, and its work horse with it."""
        with suppress(RedisError):
            super().maintain_heartbeats(*run)

    def handle_work_horse_killed(self, job: RqJob, *ended: Any) -> None:
        super().handle_work_horse_killed(job, *ended)
        # The next job need not wait for that.
        self._sweeps = [each for each in self._sweeps if each.poll() is None] + [start_sweep()]

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()
        # What the pool said meanwhile is heard now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def start_sweep() -> subprocess.Popen[bytes]:
    """Clear away what dead runs left on this host, in a process of its own, which ends by itself.

    What it does not manage, the janitor does a few seconds later.
    """
    return processes.start(["timeout", f"{SWEEP_SECONDS}", *PROGRAM, "janitor", "--once"])


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
        self._closed = False

    def start_worker(self, *args: Any, **kwargs: Any) -> None:
        """A slot hears no signal before it can tell what it means: it would take it for ours."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            super().start_worker(*args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def check_workers(self, respawn: bool = True) -> None:
        """What RQ does every second."""
        super().check_workers(respawn)
        self.stock.ensure()
        reason = intake.refusal(self._config)
        if reason and not self._closed:
            log.warning("%s", reason)
        elif self._closed and not reason:
            log.warning("%s: jobs are started again", self._config.worker.name)
        self._closed = reason is not None


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
    sweep = start_sweep()
    try:
        pool.start(logging_level=logging.getLevelName(logging.WARNING))
    finally:
        # Not before: a job may have borrowed its machine.
        pool.stock.stop()
        sweep.wait()
