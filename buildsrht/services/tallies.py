"""Counts that never get less: how many jobs there were and how they went, whatever is deleted.

Each job leaves events (buildsrht.events). One process after the other, whoever has the duty, adds
them up: each once, in the order of their ids, and the number of the last one is kept with the sums,
in one transaction. So nobody who submits or ends a job waits for anybody who counts.

What happens seldom and leaves no event, as a lease that is lost, is counted where it happens.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.models import EventKind, JobStatus, Tally

# What is counted, and what each count is told apart by.
SUBMITTED = "submitted"
TAKEN = "taken"  # image, processor
BEGUN_AGAIN = "begun_again"
ENDED = "ended"  # status, fault
MACHINES = "machines"  # origin
LAYERS = "layers"  # hit or miss
LEASES_LOST = "leases_lost"
DELIVERIES = "deliveries"  # action, outcome
# Of these, how many took how long: by the number of the bucket, and their sum in seconds.
QUEUED = "queued"
UP = "up"  # origin
RAN = "ran"  # status
BUCKETS: dict[str, tuple[float, ...]] = {
    QUEUED: (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400),
    UP: (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    RAN: (1, 5, 15, 30, 60, 120, 300, 600, 1200, 2700, 7200),
}
SUM = "sum"

MARK = "mark"
MOST_AT_ONCE = 10_000
# Events are seen when their transactions are over, and those may overtake each other. None lasts so
# long.
SETTLED = timedelta(seconds=15)

# Of each event the status before it, and when that was.
SEEN = text(
    """
    SELECT event.id, event.kind, event.status, event.attempt, event.created,
        job.image, job.arch, job.fault, job.plan,
        earlier.status AS earlier_status, earlier.created AS since, event.is_settled
    FROM (
        SELECT *, created < clock_timestamp() - CAST(:settled AS interval) AS is_settled
        FROM job_event WHERE id > :mark ORDER BY id LIMIT :most
    ) AS event
    JOIN job ON job.id = event.job_id
    LEFT JOIN LATERAL (
        SELECT status, created FROM job_event
        WHERE job_id = event.job_id AND id < event.id AND kind IN ('created', 'status')
        ORDER BY id DESC LIMIT 1
    ) AS earlier ON true
    ORDER BY event.id
    """
)


class Seen(NamedTuple):
    """An event of a job, and what its job is like."""

    id: int
    kind: str
    status: str
    attempt: int
    created: datetime
    image: str
    arch: str
    fault: str | None
    plan: Mapping[str, Any]
    earlier_status: str | None
    since: datetime | None
    is_settled: bool

    @property
    def seconds(self) -> float:
        """Since the event before. The clock may have been set back."""
        return max(0.0, (self.created - self.since).total_seconds()) if self.since else 0.0


Key = tuple[str, tuple[str, ...]]


def add(session: Session, name: str, *labels: str, by: float = 1) -> None:
    """Count what has just happened."""
    _add_all(session, {(name, labels): by})


def gather(backend: Backend) -> None:
    """Add up what has happened since somebody last did."""
    with backend.transaction() as session:
        mark = _mark(session)
        if mark is None:
            return
        found = session.execute(
            SEEN, {"mark": int(mark.value), "settled": SETTLED, "most": MOST_AT_ONCE}
        )
        # Not one behind one that is not settled: the mark would pass that by.
        seen = list(takewhile(lambda event: event.is_settled, (Seen(*row) for row in found)))
        if seen:
            _add_all(session, _summed(each for event in seen for each in counted(event)))
            mark.value = seen[-1].id


def _mark(session: Session) -> Tally | None:
    """How far somebody has counted; None while somebody does."""
    session.execute(insert(Tally).values(name=MARK, labels=[], value=0).on_conflict_do_nothing())
    asked = select(Tally).where(Tally.name == MARK)
    return session.scalar(asked.with_for_update(skip_locked=True))


def counted(event: Seen) -> Iterator[tuple[Key, float]]:
    """What one event adds to which counts."""
    if event.kind == EventKind.CREATED:
        yield (SUBMITTED, ()), 1
    elif event.kind == EventKind.STATUS:
        yield from _moved(event)


def _moved(event: Seen) -> Iterator[tuple[Key, float]]:
    if event.status == JobStatus.RUNNING:
        yield (TAKEN, (event.image, event.arch)), 1
        yield from _took(QUEUED, event.seconds)
    elif event.status == JobStatus.QUEUED and event.attempt:
        yield (BEGUN_AGAIN, ()), 1
    elif JobStatus(event.status).is_final:
        yield (ENDED, (event.status, event.fault or "")), 1
        if event.earlier_status == JobStatus.RUNNING:
            yield from _took(RAN, event.seconds, event.status)
            yield from _got(event.plan)


def _got(plan: Mapping[str, Any]) -> Iterator[tuple[Key, float]]:
    """What machine a job got, if it got one."""
    origin = plan.get("origin")
    if origin:
        yield (MACHINES, (origin,)), 1
        yield from _took(UP, plan["up_seconds"], origin)
    if plan.get("layer"):
        yield (LAYERS, ("miss" if plan.get("layer_is_new") else "hit",)), 1


def _took(name: str, seconds: float, *labels: str) -> Iterator[tuple[Key, float]]:
    bucket = bisect_left(BUCKETS[name], seconds)
    yield (name, (*labels, str(bucket))), 1
    yield (name, (*labels, SUM)), seconds


def _summed(counts: Iterable[tuple[Key, float]]) -> Counter[Key]:
    summed: Counter[Key] = Counter()
    for key, by in counts:
        summed[key] += by  # type: ignore[assignment]
    return summed


def _add_all(session: Session, counts: Mapping[Key, float]) -> None:
    # In one order: two who add to the same ones shall not wait for each other.
    rows = [
        {"name": name, "labels": list(labels), "value": by}
        for (name, labels), by in sorted(counts.items())
    ]
    if rows:
        added = insert(Tally).values(rows)
        session.execute(
            added.on_conflict_do_update(
                index_elements=[Tally.name, Tally.labels],
                set_={"value": Tally.value + added.excluded.value},
            )
        )


def read(session: Session) -> dict[str, dict[tuple[str, ...], float]]:
    """All counts, by name and labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels, value in session.execute(select(Tally.name, Tally.labels, Tally.value)):
        found.setdefault(name, {})[tuple(labels)] = value
    return found
