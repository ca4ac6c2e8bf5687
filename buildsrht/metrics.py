"""What Prometheus scrapes: how the whole service is, and what it has done.

Nothing is counted in this process. What is now is asked for when somebody scrapes, and what has
been was counted by the janitors (buildsrht.services.tallies): so it does not matter which of
several web services answers, and none of it is lost with one. Labels are few: no job, user or name
that somebody chose is one.

Names that builds.sr.ht has mean here what they mean there; the rest begins with `buildsrht_` too.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from buildsrht.backend import Backend
from buildsrht.services import census, tallies
from buildsrht.services.census import Census

Counts = Mapping[tuple[str, ...], float]

# By tally: the name, what it means, and the names of its labels.
COUNTERS = {
    tallies.SUBMITTED: ("buildsrht_builds_submitted", "Jobs that were submitted.", ()),
    tallies.TAKEN: (
        "buildsrht_image_runs",
        "Jobs that a build host has taken, each time that it did.",
        ("image", "arch"),
    ),
    tallies.BEGUN_AGAIN: (
        "buildsrht_builds_begun_again",
        "Jobs that were lost before their first task, and queued again.",
        (),
    ),
    tallies.ENDED: (
        "buildsrht_builds_ended",
        "Jobs that are over, by how they ended and, if they failed, whose fault it was.",
        ("status", "fault"),
    ),
    tallies.MACHINES: (
        "buildsrht_machines",
        "Machines that jobs got, by where they came from.",
        ("origin",),
    ),
    tallies.LAYERS: (
        "buildsrht_layers",
        "Jobs with packages from a layer, by whether that was there.",
        ("result",),
    ),
    tallies.LEASES_LOST: (
        "buildsrht_leases_lost",
        "Jobs that were given up because their build host was not heard of, or hung.",
        (),
    ),
    tallies.DELIVERIES: (
        "buildsrht_triggers_executed",
        "Attempts to deliver mail and webhooks; `waiting` are those that will be tried again.",
        ("action", "outcome"),
    ),
}
HISTOGRAMS = {
    tallies.QUEUED: ("buildsrht_queue_duration_seconds", "How long jobs were queued.", ()),
    tallies.UP: (
        "buildsrht_vm_settle_duration_seconds",
        "How long it took until the machine of a job answered.",
        ("origin",),
    ),
    tallies.RAN: ("buildsrht_build_duration", "How many seconds jobs ran.", ("status",)),
}


def registry(backend: Backend) -> CollectorRegistry:
    """What there is to scrape."""
    found = CollectorRegistry()
    found.register(_Collector(backend))
    return found


class _Collector(Collector):
    def __init__(self, backend: Backend):
        self._backend = backend

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked before somebody scrapes."""
        return ()

    def collect(self) -> Iterator[Metric]:
        with self._backend.transaction() as session:
            counts = tallies.read(session)
        for tally, (name, meaning, labels) in COUNTERS.items():
            yield _counter(name, meaning, labels, counts.get(tally, {}))
        for tally, (name, meaning, labels) in HISTOGRAMS.items():
            bounds = tallies.BUCKETS[tally]
            yield _histogram(name, meaning, labels, bounds, counts.get(tally, {}))
        yield from _webhooks(counts.get(tallies.DELIVERIES, {}))
        yield from _gauges(census.take(self._backend))


def _counter(name: str, meaning: str, labels: tuple[str, ...], counts: Counts) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for values, count in (counts or ({} if labels else {(): 0.0})).items():
        family.add_metric(values, count)
    return family


def _histogram(
    name: str, meaning: str, labels: tuple[str, ...], bounds: tuple[float, ...], counts: Counts
) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for values in sorted({key[:-1] for key in counts}):
        buckets, below = [], 0.0
        for number, bound in enumerate((*bounds, inf)):
            below += counts.get((*values, str(number)), 0.0)
            buckets.append((floatToGoString(bound), below))
        family.add_metric(values, buckets, counts.get((*values, tallies.SUM), 0.0))
    return family


def _webhooks(counts: Counts) -> Iterator[Metric]:
    """The same as builds.sr.ht tells it."""
    of = {outcome: count for (action, outcome), count in counts.items() if action == "webhook"}
    yield CounterMetricFamily(
        "buildsrht_triggers_webhooks", "Attempts to deliver webhooks.", sum(of.values())
    )
    yield CounterMetricFamily(
        "buildsrht_triggers_webhooks_failed",
        "Those that failed.",
        sum(of.values()) - of.get("delivered", 0.0),
    )


def _gauges(now: Census) -> Iterator[Metric]:
    yield GaugeMetricFamily("buildsrht_builds_running", "Jobs that run.", now.running)
    waiting = GaugeMetricFamily(
        "buildsrht_builds_queued", "Jobs that wait for a build host.", labels=("image", "arch")
    )
    for platform, jobs in now.queued.items():
        waiting.add_metric(platform, jobs)
    yield waiting
    yield GaugeMetricFamily(
        "buildsrht_queue_oldest_seconds", "How long the oldest of them waits.", now.oldest_seconds
    )
    hosts = GaugeMetricFamily(
        "buildsrht_runners", "Build hosts, by what they may do.", labels=("state", "heard")
    )
    for (state, is_heard), count in now.hosts.items():
        hosts.add_metric((state, "yes" if is_heard else "no"), count)
    yield hosts
    if now.slots:
        yield GaugeMetricFamily("buildsrht_build_workers", "Slots for jobs.", now.slots.all)
        yield GaugeMetricFamily("buildsrht_slots_busy", "Those that run a job.", now.slots.busy)
        yield GaugeMetricFamily(
            "buildsrht_slots_paused", "Those that take none now.", now.slots.paused
        )
    owed = GaugeMetricFamily(
        "buildsrht_deliveries_waiting", "Mail and webhooks that are still owed.", now.deliveries
    )
    yield owed
    yield GaugeMetricFamily(
        "buildsrht_pushes_waiting", "What forges reported and is not built yet.", now.pushes
    )
