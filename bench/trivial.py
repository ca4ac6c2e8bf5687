"""A job of one `echo`: how soon its output is read, how soon it is over, how many in a minute."""

import time

from bench.client import Client, Job
from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.manifests import TRIVIAL, TRIVIAL_LOG
from bench.place import Place
from bench.service import Service, running

REPETITIONS = 15
BATCHES = 3
BATCH = 30
SIXTEEN = 16
JOB_SECONDS = 120
# Whoever waits for a batch shall not keep a processor busy with asking.
BATCH_POLL_SECONDS = 0.1


def one_by_one(place: Place) -> Figures:
    with running(place, "trivial") as service:
        first_bytes, finished = _run_one_by_one(service)
    with running(place, "no-spares", spares=0) as service:
        without_spare, _ = _run_one_by_one(service)
    return Figures(
        seconds={
            "submit_to_first_byte": Summary.of(first_bytes),
            "submit_to_finished": Summary.of(finished),
            "submit_to_first_byte_without_spare": Summary.of(without_spare),
        }
    )


def _run_one_by_one(service: Service) -> tuple[list[float], list[float]]:
    first_bytes, finished = [], []
    warm_up(service)
    for _ in range(REPETITIONS):
        service.await_rest()
        with service.client() as client:
            job = client.submit(TRIVIAL)
            first_bytes.append(client.await_first_byte(job, JOB_SECONDS))
            finished.append(client.await_success(job, JOB_SECONDS))
            check_log(client, job)
    return first_bytes, finished


def two_at_a_time(place: Place) -> Figures:
    with running(place, "batches", workers=2) as service:
        warm_up(service)
        rates = [60 * BATCH / _run_batch(service, BATCH) for _ in range(BATCHES)]
    return Figures(rates={"jobs_per_minute": Summary.of(rates)})


def sixteen_at_once(place: Place) -> Figures:
    with running(place, "sixteen", workers=SIXTEEN) as service:
        warm_up(service)
        seconds = _run_batch(service, SIXTEEN)
    return Figures(seconds={"sixteen_at_once": Summary.of([seconds])})


def warm_up(service: Service) -> None:
    with service.client() as client:
        client.await_success(client.submit(TRIVIAL), JOB_SECONDS)


def check_log(client: Client, job: Job) -> None:
    log = client.whole(job.task_log)
    if log != TRIVIAL_LOG:
        raise MeasurementFailed(f"job {job.id}: its log is {log!r}")


def _run_batch(service: Service, size: int) -> float:
    """Seconds from the first submit until the last of `size` jobs has succeeded."""
    with service.client() as client:
        jobs = [client.submit(TRIVIAL) for _ in range(size)]
        for job in jobs:
            client.await_success(job, JOB_SECONDS * size, BATCH_POLL_SECONDS)
        seconds = time.monotonic() - jobs[0].begun
        for job in jobs:
            check_log(client, job)
    return seconds
