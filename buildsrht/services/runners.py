"""What each build host last said of itself, and when that was.

Its facts are the host's own words, in JSON: worker.inventory has them. Nothing is decided by them;
they are for people to look at. A host that says nothing any more is forgotten at last.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.models import Fault, Job, Runner, RunnerState
from buildsrht.queue import SILENCE
from buildsrht.services.dispatch import Offer

# A host that was away for a holiday is still told to be missing.
REMEMBERED = timedelta(days=30)
LAST_JOBS = 20


class Host(NamedTuple):
    """A build host; `is_silent` if it should have been heard of since."""

    name: str
    state: RunnerState
    seen: datetime
    is_silent: bool
    facts: Mapping[str, Any]


def report(backend: Backend, name: str, facts: Mapping[str, Any]) -> None:
    """Say that a build host is there, and what it is like. One that was not enrolled before is so
    from now on."""
    said = insert(Runner).values(name=name, facts=facts)
    again = {"seen": func.now(), "facts": said.excluded.facts}
    with backend.transaction() as session:
        session.execute(said.on_conflict_do_update(index_elements=[Runner.name], set_=again))
        session.execute(
            delete(Runner)
            # What is not to take jobs is not to come back as one that does.
            .where(Runner.seen < func.now() - REMEMBERED, Runner.state == RunnerState.ACTIVE)
            .execution_options(synchronize_session=False)
        )


def state_of(backend: Backend, name: str) -> RunnerState:
    """What a build host may do; one that is not enrolled yet may take jobs."""
    with backend.transaction() as session:
        state = session.scalar(select(Runner.state).where(Runner.name == name))
    return state or RunnerState.ACTIVE


def offers(session: Session) -> Iterator[Offer]:
    """What the hosts can run that were heard of lately and may take jobs, by their own words."""
    heard = Runner.seen > func.now() - SILENCE
    hosts = select(Runner).where(heard, Runner.state == RunnerState.ACTIVE)
    for host in session.scalars(hosts):
        platforms = {(image["name"], image["arch"]) for image in host.facts.get("images", ())}
        yield Offer(host.name, frozenset(platforms), frozenset(host.facts.get("labels", ())))


def list_runners(session: Session) -> Sequence[Host]:
    """All that were heard of lately, also those that are silent now."""
    is_silent = Runner.seen <= func.now() - SILENCE
    asked = select(Runner.name, Runner.state, Runner.seen, is_silent, Runner.facts)
    return [Host(*row) for row in session.execute(asked.order_by(Runner.name))]


def count_faults(session: Session) -> dict[str, int]:
    """Of each host's last jobs, how many failed by this service's fault."""
    last = (
        select(Job.fault)
        .where(Job.runner == Runner.name, Job.finished.is_not(None))
        .order_by(Job.id.desc())
        .limit(LAST_JOBS)
        .correlate(Runner)
        .lateral()
    )
    counted = select(func.count()).select_from(last).where(last.c.fault == Fault.SERVICE)
    asked = select(Runner.name, counted.correlate(Runner).scalar_subquery())
    found: dict[str, int] = dict(session.execute(asked).all())
    return found
