"""What is kept of jobs that are over, and what goes: by age, and where there is too little room.

A row is marked first, and with it, in one transaction, what janitors have to erase
(buildsrht.services.deletion): from then on nobody is given the bytes, and no crash leaves bytes
that nobody knows of. Nothing of a job that is pinned goes (buildsrht.services.pins), and no log of
one that is not over.
"""

import logging
import shutil
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht import config
from buildsrht.backend import Backend
from buildsrht.logs import Sealed
from buildsrht.models import Artifact, Erasure, Job, Log
from buildsrht.services.artifacts import storage_key

log = logging.getLogger(__name__)

# In one transaction.
MOST_AT_ONCE = 100

Row = TypeVar("Row", Artifact, Log)


# --- by age ---------------------------------------------------------------------------------------


def remove_expired(backend: Backend) -> None:
    """Remove artifacts, and logs if they have a lifetime, whose time is over; some at a time."""
    with backend.transaction() as session:
        is_over = (Artifact.deleted.is_(None)) & (Artifact.expires < func.now())
        _remove_artifacts(session, _oldest_artifacts(session, is_over))
        lifetime = backend.config.storage.log_lifetime
        if lifetime is not None:
            _remove_logs(session, _oldest_logs(session, lifetime))


# --- by room --------------------------------------------------------------------------------------


def make_room(backend: Backend) -> None:
    """Remove the oldest artifacts, then logs if they may go, until there is room again."""
    settings = backend.config.storage
    if settings.size is None and settings.reserve is None:
        return
    with backend.transaction() as session:
        # What is to be erased yet takes up room as before: who removed more would remove too much.
        if session.scalar(select(exists().select_from(Erasure))):
            return
        excess = _excess(session, settings)
    freed = 0
    while freed < excess:
        with backend.transaction() as session:
            removed = _remove_oldest(session, settings, excess - freed)
        if not removed:
            log.warning("%s too much is in storage, and nothing may be removed", excess - freed)
            return
        freed += removed
    if freed:
        log.warning("removed %s of the oldest, as room was needed", config.size_text(freed))


def _excess(session: Session, settings: config.Storage) -> int:
    """How many bytes have to go."""
    stored = sum(
        session.scalar(select(func.coalesce(func.sum(row.size), 0)).where(is_there)) or 0
        for row, is_there in ((Artifact, Artifact.deleted.is_(None)), (Log, Log.removed.is_(None)))
    )
    by_size = stored - settings.size if settings.size is not None else 0
    by_reserve = 0
    if settings.reserve is not None and not settings.url:
        by_reserve = settings.reserve - shutil.disk_usage(settings.path).free
    return int(max(0, by_size, by_reserve))


def _remove_oldest(session: Session, settings: config.Storage, wanted: int) -> int:
    """Mark some of the oldest, until they have the wanted bytes; returns how many they have."""
    is_old = Artifact.created < func.now() - timedelta(seconds=settings.least_age)
    may_go = Artifact.deleted.is_(None) & is_old & Job.finished.is_not(None)
    if artifacts := _first(_oldest_artifacts(session, may_go), wanted):
        return _remove_artifacts(session, artifacts)
    if settings.clear_logs:
        return _remove_logs(session, _first(_oldest_logs(session, settings.least_age), wanted))
    return 0


def _first(rows: Sequence[Row], wanted: int) -> list[Row]:
    """As many as have the wanted bytes together."""
    chosen: list[Row] = []
    size = 0
    for row in rows:
        if size >= wanted:
            break
        chosen.append(row)
        size += row.size
    return chosen


# --- rows -----------------------------------------------------------------------------------------


def _oldest_artifacts(session: Session, may_go: ColumnElement[bool]) -> Sequence[Artifact]:
    asked = (
        select(Artifact)
        .join(Job, Job.id == Artifact.job_id)
        .where(may_go, ~Job.pinned)
        .order_by(Artifact.expires, Artifact.id)
        .limit(MOST_AT_ONCE)
    )
    return session.scalars(asked.with_for_update(**_undisturbed(Artifact))).all()


def _oldest_logs(session: Session, seconds: int) -> Sequence[Log]:
    asked = (
        select(Log)
        .join(Job, Job.id == Log.job_id)
        .where(
            Log.removed.is_(None),
            Log.created < func.now() - timedelta(seconds=seconds),
            Job.finished.is_not(None),
            ~Job.pinned,
        )
        .order_by(Log.created, Log.id)
        .limit(MOST_AT_ONCE)
    )
    return session.scalars(asked.with_for_update(**_undisturbed(Log))).all()


def _undisturbed(row: type[Artifact] | type[Log]) -> dict[str, Any]:
    """Locks the jobs too: one that is being pinned right now is passed over, and once it is pinned
    nothing of it is taken any more."""
    return {"skip_locked": True, "key_share": True, "of": (row, Job)}


def _remove_artifacts(session: Session, artifacts: Sequence[Artifact]) -> int:
    ids = [artifact.id for artifact in artifacts]
    marked = update(Artifact).where(Artifact.id.in_(ids)).values(deleted=func.now())
    session.execute(marked.execution_options(synchronize_session=False))
    _have_erased(session, map(storage_key, artifacts))
    return sum(artifact.size for artifact in artifacts)


def _remove_logs(session: Session, logs: Sequence[Log]) -> int:
    marked = update(Log).where(Log.id.in_([row.id for row in logs])).values(removed=func.now())
    session.execute(marked.execution_options(synchronize_session=False))
    _have_erased(session, (key for row in logs for key in Sealed.of(row)))
    return sum(row.size for row in logs)


def _have_erased(session: Session, keys: Iterable[str]) -> None:
    rows = [{"prefix": key} for key in keys]
    if rows:
        session.execute(insert(Erasure), rows)
