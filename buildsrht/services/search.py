"""Jobs that somebody looks for: what they may see of them, newest first, a page at a time.

Everybody finds public jobs, and their own; administrators find all. Unlisted jobs of others are for
those who have the link, and nobody finds them here.

A page begins where the last one ended, at a job's number, so what comes meanwhile shifts nothing.
How long a search takes depends on what is looked for and not on how many jobs there are: each key
has an index in schema.sql, or jobs enough that it is true for. What has neither (a rare text in
manifests, two letters in notes) is given a moment, and then refused with what would help.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from psycopg2.errors import QueryCanceled
from sqlalchemy import ColumnElement, Select, false, func, not_, select, text, true, union_all
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, defer

from buildsrht.catalogue import Catalogue
from buildsrht.errors import BadInput, FieldError
from buildsrht.models import Job, Task, User, Visibility
from buildsrht.services.search_terms import FIELD, TaskTerm, Term, parse

PAGE = 50
PATIENCE = "5s"
# Jobs get their numbers in the order of their times, but for those that come at the same moment:
# among so many neighbours of a time is the number that is furthest off.
NEIGHBOURS = 1000

Condition = ColumnElement[bool]


class Found(NamedTuple):
    """`next` is what `before` has to be for the jobs that follow; None if these are the last."""

    jobs: Sequence[Job]
    next: int | None


def search(
    session: Session,
    viewer: User | None,
    query: str,
    *,
    owner: User | None = None,
    tag_path: Sequence[str] = (),
    before: int | None = None,
    count: int = PAGE,
    catalogue: Catalogue | None = None,
) -> Found:
    """Raises BadInput with every problem of the query, or if it takes too long.

    With `owner` that user's jobs only, with `tag_path` those whose tags begin with these, and with
    `before` those whose number is less. The catalogue knows other names of images.
    """
    terms = parse(query, datetime.now(UTC))
    conditions = [*_conditions(session, terms, catalogue), *has_path(tag_path)]
    if before is not None:
        conditions.append(Job.id < before)
    ids = visible_ids(viewer, owner, conditions, count + 1)
    asked = select(Job).where(Job.id.in_(ids)).order_by(Job.id.desc())
    # Each may be as long as a whole list of jobs is without.
    asked = asked.options(defer(Job.manifest, raiseload=True))
    jobs = _patiently(session, lambda: session.scalars(asked).all())
    return Found(jobs[:count], jobs[count - 1].id if len(jobs) > count else None)


# --- who sees what ----------------------------------------------------------------------------


def visible_ids(
    viewer: User | None, owner: User | None, conditions: Sequence[Condition], count: int
) -> Select[int]:
    """The numbers of the newest jobs that the viewer may find and for which all conditions hold."""
    if owner is not None:
        is_open = viewer is not None and (viewer.admin or viewer.id == owner.id)
        seen = true() if is_open else Job.visibility == Visibility.PUBLIC
        return _newest(count, Job.owner_id == owner.id, seen, *conditions)
    if viewer is None:
        return _newest(count, Job.visibility == Visibility.PUBLIC, *conditions)
    if viewer.admin:
        return _newest(count, *conditions)
    # For this or that, in one order, PostgreSQL would look at everybody's. So: the newest of each.
    own = _newest(count, Job.owner_id == viewer.id, *conditions)
    others = _newest(
        count, Job.visibility == Visibility.PUBLIC, Job.owner_id != viewer.id, *conditions
    )
    both = union_all(own, others).subquery()
    return select(both.c.id).order_by(both.c.id.desc()).limit(count)


def _newest(count: int, *conditions: Condition) -> Select[int]:
    return select(Job.id).where(*conditions).order_by(Job.id.desc()).limit(count)


# --- what is asked for ------------------------------------------------------------------------


def _conditions(
    session: Session, terms: Sequence[Term], catalogue: Catalogue | None
) -> list[Condition]:
    """What has to hold for each term. Raises BadInput for owners that are not there."""
    owner_ids = _owner_ids(session, terms)
    readers: dict[str, Callable[[Any], Condition]] = {
        "note": lambda value: Job.note.ilike(_anywhere(value)),
        "manifest": lambda value: Job.manifest.ilike(_anywhere(value)),
        "status": lambda value: Job.status == value,
        "image": lambda value: _is_image(value, catalogue),
        "tags": _has_tags,
        "owner": lambda value: Job.owner_id == owner_ids[value],
        "runner": lambda value: Job.runner == value,
        "since": _since,
        "before": _before,
        "task": _has_task,
        "pinned": lambda value: Job.pinned == value,
    }
    conditions = []
    for key, value, is_negated in terms:
        holds = readers[key](value)
        # What is unknown of a job, its note say, holds not either.
        conditions.append(not_(func.coalesce(holds, false())) if is_negated else holds)
    return conditions


def _owner_ids(session: Session, terms: Sequence[Term]) -> dict[str, int]:
    names = {term.value for term in terms if term.key == "owner"}
    if not names:
        return {}
    users = session.execute(select(User.name, User.id).where(User.name.in_(names)))
    found = {user.name: user.id for user in users}
    if missing := sorted(names - found.keys()):
        raise BadInput([FieldError(FIELD, f"owner: there is no ~{name}") for name in missing])
    return found


def _anywhere(value: str) -> str:
    """The pattern of what has this text in it, whatever LIKE takes its characters for."""
    for special in "\\%_":
        value = value.replace(special, "\\" + special)
    return f"%{value}%"


def _is_image(name: str, catalogue: Catalogue | None) -> Condition:
    """`debian` is every release of it; with a slash it is one, by any of its names."""
    if "/" in name:
        known = catalogue.find(name) if catalogue else None
        return Job.image == (known.name if known else name)
    return (Job.image == name) | Job.image.like(_anywhere(f"{name}/")[1:])


def _has_tags(tags: tuple[str, ...]) -> Condition:
    """These tags, one after the other."""
    holds = Job.tags.contains(list(tags))
    if len(tags) == 1:
        return holds
    path = func.concat("/", func.array_to_string(Job.tags, "/"), "/")
    return holds & path.like(_anywhere(f"/{'/'.join(tags)}/"))


def has_path(tags: Sequence[str]) -> list[Condition]:
    """What holds for tags that begin with these."""
    if not tags:
        return []
    return [Job.tags.contains(list(tags)), Job.tags[1 : len(tags)] == list(tags)]


def _has_task(task: TaskTerm) -> Condition:
    tasks = select(Task.id).where(Task.job_id == Job.id, Task.name == task.name)
    if task.status:
        tasks = tasks.where(Task.status == task.status)
    return tasks.exists()


def _since(time: datetime) -> Condition:
    near = select(Job.id).where(Job.created >= time).order_by(Job.created).limit(NEIGHBOURS)
    first = select(func.min(near.subquery().c.id)).scalar_subquery()
    return (Job.created >= time) & (Job.id >= first)


def _before(time: datetime) -> Condition:
    near = select(Job.id).where(Job.created < time).order_by(Job.created.desc()).limit(NEIGHBOURS)
    last = select(func.max(near.subquery().c.id)).scalar_subquery()
    return (Job.created < time) & (Job.id <= last)


# --- patience ---------------------------------------------------------------------------------


def _patiently(session: Session, ask: Callable[[], Sequence[Job]]) -> Sequence[Job]:
    session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
    try:
        found = ask()
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            reason = "takes too long among all jobs; ask for an owner:, tags: or since: as well"
            raise BadInput([FieldError(FIELD, reason)]) from None
        raise
    session.execute(text("SET LOCAL statement_timeout = DEFAULT"))
    return found
