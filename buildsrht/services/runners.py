"""What each build host last said of itself, and when that was.

Its facts are the host's own words, in JSON: worker.inventory has them. Nothing is decided by them;
they are for people to look at. A host that says nothing any more is forgotten at last.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.models import Runner
from buildsrht.queue import SILENCE

# A host that was away for a holiday is still told to be missing.
REMEMBERED = timedelta(days=30)


class Host(NamedTuple):
    """A build host; `is_silent` if it should have been heard of since."""

    name: str
    seen: datetime
    is_silent: bool
    facts: Mapping[str, Any]


def report(backend: Backend, name: str, facts: Mapping[str, Any]) -> None:
    """Say that a build host is there, and what it is like."""
    said = insert(Runner).values(name=name, facts=facts)
    again = {"seen": func.now(), "facts": said.excluded.facts}
    with backend.transaction() as session:
        session.execute(said.on_conflict_do_update(index_elements=[Runner.name], set_=again))
        session.execute(
            delete(Runner)
            .where(Runner.seen < func.now() - REMEMBERED)
            .execution_options(synchronize_session=False)
        )


def list_runners(session: Session) -> Sequence[Host]:
    """All that were heard of lately, also those that are silent now."""
    is_silent = Runner.seen <= func.now() - SILENCE
    asked = select(Runner.name, Runner.seen, is_silent, Runner.facts).order_by(Runner.name)
    return [Host(*row) for row in session.execute(asked)]
