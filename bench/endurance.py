"""Two hundred jobs in a row: none fails, and nothing is left behind.

What must be as before is compared, and a difference ends the run. Memory may grow a little where
Python keeps what it freed, so it is only told.
"""

import time
from typing import Any

from bench import processes
from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.manifests import TRIVIAL
from bench.place import Place
from bench.service import Service, running
from bench.trivial import check_log, warm_up

JOBS = 200
SLOTS = 2
JOB_SECONDS = 120
POLL_SECONDS = 0.05
# A job is over a moment before the last of its processes is.
REST_SECONDS = 10


def measure(place: Place) -> Figures:
    with running(place, "endurance", workers=SLOTS) as service:
        # The slots take turns; the first job of each leaves it with modules and connections.
        for _ in range(2 * SLOTS):
            warm_up(service)
        service.await_rest()
        before = _state(service)
        begun = time.monotonic()
        for _ in range(JOBS):
            _run_job(service)
        seconds = time.monotonic() - begun
        service.await_rest()
        after = _settled(service, before)
    return Figures(
        seconds={"two_hundred_in_a_row": Summary.of([seconds])},
        notes={"endurance": {"jobs": JOBS, "before": before, "after": after}},
    )


def _run_job(service: Service) -> None:
    with service.client() as client:
        job = client.submit(TRIVIAL)
        client.await_success(job, JOB_SECONDS, POLL_SECONDS)
        check_log(client, job)


def _settled(service: Service, before: dict[str, Any]) -> dict[str, Any]:
    """The state once it is as before."""
    deadline = time.monotonic() + REST_SECONDS
    while _must_stay(state := _state(service)) != _must_stay(before):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"{JOBS} jobs left something: {before} became {state}")
        time.sleep(POLL_SECONDS)
    return state


def _state(service: Service) -> dict[str, Any]:
    everything = list(processes.descendants(service.pid))
    workers = [pid for pid in everything if "worker" in processes.command_line(pid)[-2:]]
    return {
        "worker_processes": len(workers),
        "worker_open_files": sum(map(processes.open_files, workers)),
        "worker_resident_mb": round(sum(map(processes.resident_memory, workers)), 1),
        "machines": sum("qemu" in " ".join(processes.command_line(pid)) for pid in everything),
        "files": len(list(service.config.worker.path.rglob("*"))),
    }


def _must_stay(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "worker_resident_mb"}
