"""How fast output reaches a reader: much of it, and a line at a time."""

import hashlib
import re
import time

from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary, percentile
from bench.manifests import manifest
from bench.place import Place
from bench.service import Service, running
from bench.trivial import warm_up

LARGE = "seq 1 2700000"
LARGE_LOG = b"+ seq 1 2700000\n" + b"".join(b"%d\n" % n for n in range(1, 2_700_001))
LARGE_REPETITIONS = 3
LINES = 80
# Each line is when it was printed, by the guest's clock.
TALK = f"set +x; for n in {{1..{LINES}}}; do echo $EPOCHREALTIME; sleep 0.2; done"
LINE = re.compile(rb"^(\d+\.\d+)$", re.MULTILINE)
LOG_SECONDS = 180


def large(place: Place) -> Figures:
    with running(place, "large") as service:
        warm_up(service)
        seconds = [_read_large(service) for _ in range(LARGE_REPETITIONS)]
    return Figures(seconds={"log_20mb": Summary.of(seconds)})


def _read_large(service: Service) -> float:
    """Seconds from the first byte to the last."""
    service.await_rest()
    digest, size, first, last = hashlib.sha256(), 0, 0.0, 0.0
    with service.client() as client:
        job = client.submit(manifest(LARGE))
        for data in client.follow(job.task_log, LOG_SECONDS):
            last = time.monotonic()
            first = first or last
            size += len(data)
            digest.update(data)
        client.await_success(job, LOG_SECONDS)
    if digest.digest() != hashlib.sha256(LARGE_LOG).digest():
        raise MeasurementFailed(f"job {job.id}: wrong log, {size} of {len(LARGE_LOG)} bytes")
    return last - first


def line_by_line(place: Place) -> Figures:
    with running(place, "lines") as service:
        warm_up(service)
        service.await_rest()
        delays = _delays(service)
    return Figures(
        seconds={
            "line_to_reader": Summary.of(delays),
            "line_to_reader_p95": Summary.of([percentile(delays, 95)]),
        }
    )


def _delays(service: Service) -> list[float]:
    """Of each line, from the guest's time in it to our time when it was here.

    The guest's clock is set when its machine starts, from a time that its host read a moment
    before. So it is late, if anything, and the delays look longer than they are.
    """
    delays, rest = [], b""
    with service.client() as client:
        job = client.submit(manifest(TALK))
        for data in client.follow(job.task_log, LOG_SECONDS):
            now = time.time()
            lines, newline, rest = (rest + data).rpartition(b"\n")
            delays += [now - float(printed) for printed in LINE.findall(lines + newline)]
        client.await_success(job, LOG_SECONDS)
    if len(delays) != LINES:
        raise MeasurementFailed(f"job {job.id}: {len(delays)} lines of {LINES}")
    return delays
