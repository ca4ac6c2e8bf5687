"""Ten thousand who want to watch a job: how many are streamed to, what that takes, and what it
costs whoever asks for something else meanwhile."""

import statistics
import time

from bench import crowd
from bench.client import Client
from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.manifests import TRIVIAL
from bench.place import Place
from bench.processes import descendants, resident_memory
from bench.service import Service, without_worker

READERS = 10_000
GATHER_SECONDS = 240
ASKED = 200


def measure(place: Place) -> Figures:
    readers = crowd.room_for(READERS)
    with without_worker(place, "streams") as service:
        with service.client() as client:
            job = client.submit(TRIVIAL)
        alone = _answer_times(service, job.id)
        before = _memory(service)
        path = f"/api/jobs/{job.id}/events"
        begun = time.monotonic()
        with crowd.gathered(service.origin, path, readers, GATHER_SECONDS) as gathered:
            seconds = time.monotonic() - begun
            among = _answer_times(service, job.id)
            after = _memory(service)
    streamed, refused = gathered.statuses[200], gathered.statuses[crowd.REFUSED]
    web = service.config.web
    if streamed > web.processes * web.streams:
        raise MeasurementFailed(f"{streamed} were streamed to, which is more than the limit")
    if gathered.polite != refused:
        raise MeasurementFailed("some were refused and not told when to come again")
    return Figures(
        seconds={"answer_alone": Summary.of(alone), "answer_among_streams": Summary.of(among)},
        memory_mb={
            "web_before_streams": Summary.of([before]),
            "web_among_streams": Summary.of([after]),
        },
        notes={
            "streams": {
                "readers": readers,
                "streamed": streamed,
                "refused": refused,
                "unanswered": gathered.statuses[0],
                "gathered_in_seconds": round(seconds, 1),
            }
        },
    )


def _answer_times(service: Service, job_id: int) -> list[float]:
    """The medians of ten blocks, so that one hiccup of the host is none of the service's."""
    with service.client() as client:
        blocks = [[_ask(client, job_id) for _ in range(ASKED // 10)] for _ in range(10)]
    return [statistics.median(block) for block in blocks]


def _ask(client: Client, job_id: int) -> float:
    begun = time.monotonic()
    client.show(job_id)
    return time.monotonic() - begun


def _memory(service: Service) -> float:
    return sum(map(resident_memory, [service.pid, *descendants(service.pid)]))
