"""Job groups: several held-back jobs of one owner, started and cancelled together."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, defer, lazyload, selectinload

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, FieldError, Forbidden, NotFound
from buildsrht.manifest import parse_triggers
from buildsrht.models import Job, JobGroup, JobStatus, User, Visibility
from buildsrht.services import jobs as job_service
from buildsrht.services.dispatch import announce, withdraw
from buildsrht.services.jobs import may_operate

MEMBERS = 256
# JSON is YAML, but for these: bare in a string they would be line breaks.
_YAML_BREAKS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}


def check_triggers(triggers: Any) -> Any:
    """Whom to tell when the group is over, by the rules for a manifest's triggers.

    Keys that those do not know are kept, so everything has to be fit for a JSON column.
    """
    try:
        text = json.dumps(triggers, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise BadInput([FieldError("triggers", f"cannot be kept: {error}")]) from error
    parse_triggers(text.translate(_YAML_BREAKS))
    return triggers


def create_group(
    backend: Backend,
    owner: User,
    job_ids: Sequence[int],
    note: str | None,
    triggers: Sequence[dict[str, Any]],
    execute: bool,
) -> JobGroup:
    """Group jobs that are pending, the owner's and in no other group; start them if asked.

    Raises BadInput naming every job that does not qualify; then nothing was changed.
    """
    with backend.transaction() as session:
        _require_members(session, owner, job_ids)
        group = JobGroup(owner_id=owner.id, note=note, triggers=list(triggers))
        session.add(group)
        session.flush()
        session.execute(update(Job).where(Job.id.in_(job_ids)).values(group_id=group.id))
        if execute:
            for job_id in job_ids:
                job_service.try_start(session, job_id, _started(group.id))
        session.refresh(group)
        jobs = list(group.jobs)
    if execute:
        announce(backend, *jobs)
    return group


def _require_members(session: Session, owner: User, job_ids: Sequence[int]) -> None:
    if not 0 < len(job_ids) <= MEMBERS or len(set(job_ids)) < len(job_ids):
        raise BadInput([FieldError("jobs", f"needs 1 to {MEMBERS} different job ids")])
    # Locked, so that no other request groups or starts them before we are done; in the order of
    # their ids, so that two such requests cannot wait for each other.
    found = {
        job.id: job
        for job in session.scalars(
            select(Job)
            .where(Job.id.in_(job_ids), Job.owner_id == owner.id)
            .order_by(Job.id)
            .with_for_update(of=Job)
        )
    }
    problems = [
        FieldError("jobs", reason)
        for job_id in job_ids
        if (reason := _why_not(job_id, found.get(job_id)))
    ]
    if problems:
        raise BadInput(problems)


def _why_not(job_id: int, job: Job | None) -> str | None:
    if job is None:
        return f"you have no job {job_id}"
    if job.group_id is not None:
        return f"job {job_id} is in group {job.group_id} already"
    if job.status != JobStatus.PENDING:
        return f"job {job_id} is {job.status}, not pending"
    return None


def require_group(session: Session, group_id: int, viewer: User) -> tuple[JobGroup, list[Job]]:
    """A group and those of its jobs that `viewer` may find in it: their own, else public ones."""
    group = session.get(JobGroup, group_id) if group_id < 2**31 else None
    found = _as_seen([group] if group else [], viewer)
    if group_id not in found:
        raise NotFound(f"there is no job group {group_id}")
    return found[group_id]


def find_groups(
    session: Session, group_ids: Collection[int], viewer: User
) -> dict[int, tuple[JobGroup, list[Job]]]:
    """The same for several groups at once, of those that `viewer` may know of. What is long about
    their jobs, manifests and tasks, is read when it is looked at."""
    jobs = selectinload(JobGroup.jobs).options(lazyload(Job.tasks), defer(Job.manifest))
    groups = session.scalars(select(JobGroup).where(JobGroup.id.in_(group_ids)).options(jobs))
    return _as_seen(groups, viewer)


def _as_seen(groups: Iterable[JobGroup], viewer: User) -> dict[int, tuple[JobGroup, list[Job]]]:
    found = {}
    for group in groups:
        jobs = [
            job
            for job in group.jobs
            if may_operate(viewer, job) or job.visibility == Visibility.PUBLIC
        ]
        if jobs or group.owner_id == viewer.id:
            found[group.id] = group, jobs
    return found


def start_group(backend: Backend, group_id: int, viewer: User) -> None:
    """Start every job of the group that is still held back."""
    changed = _change_members(
        backend,
        group_id,
        viewer,
        lambda session, job_id: job_service.try_start(session, job_id, _started(group_id)),
        "pending",
    )
    announce(backend, *changed)


def _started(group_id: int) -> str:
    return f"Started with its group {group_id}."


def cancel_group(backend: Backend, group_id: int, viewer: User) -> None:
    """Cancel every job of the group that is not over."""
    cause = f"{viewer.canonical_name} cancelled it with its group {group_id}."
    changed = _change_members(
        backend,
        group_id,
        viewer,
        lambda session, job_id: job_service.try_cancel(session, job_id, cause),
        "unfinished",
    )
    withdraw(backend, *changed)


def _change_members(
    backend: Backend,
    group_id: int,
    viewer: User,
    change: Callable[[Session, int], bool],
    wanted: str,
) -> list[Job]:
    with backend.transaction() as session:
        group, jobs = require_group(session, group_id, viewer)
        if not (group.owner_id == viewer.id or viewer.admin):
            raise Forbidden(f"job group {group_id} belongs to {group.owner.canonical_name}")
        changed = [job for job in jobs if change(session, job.id)]
        if not changed:
            raise Conflict(f"job group {group_id} has no {wanted} job")
        session.execute(update(JobGroup).where(JobGroup.id == group_id).values(updated=func.now()))
    return changed
