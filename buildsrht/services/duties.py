"""Who does what only one of all processes has to do.

Whoever holds a duty says so again every few seconds; who does not is relieved. That is to save
work and no lock: for a moment two may believe that it is theirs, so what they do must bear that.

The database is not to be had now and then, as when it is restarted. `heard` says when somebody last
asked for the duty, and `since` from when on that was done without a gap, by whomever.
"""

from datetime import timedelta

from sqlalchemy import case, func, or_
from sqlalchemy.dialects.postgresql import insert

from buildsrht.backend import Backend
from buildsrht.models import Duty

# What only one janitor does.
JANITOR = "janitor"
HELD = timedelta(seconds=5)


def hold(backend: Backend, name: str, holder: str) -> bool:
    """Take the duty, or keep it, for some seconds; False if it is somebody else's."""
    asked = insert(Duty).values(name=name, holder=holder, until=func.now() + HELD)
    is_to_be_had = or_(Duty.holder == holder, Duty.until < func.now())
    is_after_a_gap = Duty.heard < func.now() - HELD
    held = asked.on_conflict_do_update(
        index_elements=[Duty.name],
        set_={
            "holder": case((is_to_be_had, asked.excluded.holder), else_=Duty.holder),
            "until": case((is_to_be_had, asked.excluded.until), else_=Duty.until),
            "since": case((is_after_a_gap, func.now()), else_=Duty.since),
            "heard": func.now(),
        },
    )
    with backend.transaction() as session:
        return session.scalars(held.returning(Duty.holder)).one() == holder
