"""How many jobs a second the API accepts while 2,000 wait: a web service without a worker."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.manifests import TRIVIAL
from bench.place import Place
from bench.service import Service, without_worker

QUEUED = 2000
CLIENTS = 8
WINDOWS = 5
WINDOW_SECONDS = 3
# A client that used more of a processor than this would measure itself.
OWN_SHARE = 0.5


def measure(place: Place) -> Figures:
    with without_worker(place, "queue") as service:
        _submit_until(service, lambda accepted: accepted >= QUEUED / CLIENTS)
        rates = [_rate(service) for _ in range(WINDOWS)]
    return Figures(rates={"submissions_per_second": Summary.of(rates)})


def _rate(service: Service) -> float:
    begun, used = time.monotonic(), time.process_time()
    accepted = _submit_until(service, lambda _: time.monotonic() > begun + WINDOW_SECONDS)
    seconds = time.monotonic() - begun
    if time.process_time() - used > OWN_SHARE * seconds:
        raise MeasurementFailed("the client was busier than the server that it measured")
    return accepted / seconds


def _submit_until(service: Service, is_enough: Callable[[int], bool]) -> int:
    """How many were accepted in all. Each client submits again as soon as it is answered, until
    what it has submitted is enough."""

    def submit_again_and_again() -> int:
        accepted = 0
        with service.client() as client:
            while not is_enough(accepted):
                client.submit(TRIVIAL)
                accepted += 1
        return accepted

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(submit_again_and_again) for _ in range(CLIENTS)]
        return sum(client.result() for client in clients)
