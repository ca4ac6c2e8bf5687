"""A compiler, installed once, and the jobs after that which find it installed."""

import re
import time
from itertools import pairwise

from bench.client import Client, Job
from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.manifests import manifest
from bench.place import Place
from bench.service import Service, running
from bench.trivial import warm_up

PACKAGES = ["gcc", "libc6-dev", "make"]
COMPILE = """\
printf '#include <stdio.h>\\nint main(void) { puts("it works"); }\\n' >program.c
gcc -o program program.c
./program
"""
COMPILED = b"\n+ ./program\nit works\n"
MANIFEST = manifest(COMPILE, PACKAGES)
HITS = 5
INSTALL_SECONDS = 900
# Asking shall not slow the installation down.
INSTALL_POLL_SECONDS = 0.1
JOB_SECONDS = 120

INSTALLING = b"Installing "
IS_UP = b"The machine is up "
FROM_LAYER = re.compile(rb"^Packages are from the layer .* installing them took (\d+) s", re.M)


def measure(place: Place) -> Figures:
    # A hit from a spare would be faster still, and their making would disturb the installation.
    with running(place, "layers", spares=0) as service:
        warm_up(service)
        installation = _install(service)
        hits = [_hit(service) for _ in range(HITS)]
    return Figures(
        seconds={
            "layer_install": Summary.of([installation]),
            "layer_hit": Summary.of([first_byte for first_byte, _ in hits]),
            "layer_install_as_logged": Summary.of([logged for _, logged in hits]),
        }
    )


def _install(service: Service) -> float:
    """Seconds that apt was seen to work for the first job. What the layer takes beyond that, to be
    saved and tried, is not the installation that a hit replaces."""
    with service.client() as client:
        job = client.submit(MANIFEST)
        growth = client.follow(job.setup_log, INSTALL_SECONDS, INSTALL_POLL_SECONDS)
        pieces = [(time.monotonic(), data) for data in growth]
        client.await_success(job, JOB_SECONDS)
        _check(client, job)
    begun = [at for at, data in pieces if INSTALLING in data]
    ended = [at for (at, _), (_, following) in pairwise(pieces) if IS_UP in following]
    if not (begun and ended):
        raise MeasurementFailed(f"job {job.id}: its setup log does not tell of an installation")
    return ended[0] - begun[0]


def _hit(service: Service) -> tuple[float, float]:
    """Seconds from submit to first byte, and what the log says that the installation took."""
    with service.client() as client:
        job = client.submit(MANIFEST)
        first_byte = client.await_first_byte(job, JOB_SECONDS)
        client.await_success(job, JOB_SECONDS)
        _check(client, job)
        said = FROM_LAYER.search(client.whole(job.setup_log))
    if not said:
        raise MeasurementFailed(f"job {job.id}: its packages were not from a layer")
    return first_byte, float(said[1])


def _check(client: Client, job: Job) -> None:
    log = client.whole(job.task_log)
    if not log.endswith(COMPILED):
        raise MeasurementFailed(f"job {job.id}: its program did not run: {log!r}")
