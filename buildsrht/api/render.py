"""Rows as the JSON that clients were promised: keys may be added, never renamed or removed.

URLs are absolute; times are UTC with an explicit offset.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from buildsrht import urls
from buildsrht.config import Config
from buildsrht.models import Artifact, Job, JobGroup, User
from buildsrht.services.jobs import PAGE
from buildsrht.services.stream import ArtifactKept, Happening, JobMoved, JobOver, LogGrew, TaskMoved


def job(config: Config, row: Job) -> dict[str, Any]:
    origin = config.web.origin
    return {
        "id": row.id,
        "status": row.status,
        "setup_log": urls.setup_log(origin, row.id),
        "tasks": [
            {
                "name": task.name,
                "status": task.status,
                "log": urls.task_log(origin, row.id, task.name),
            }
            for task in row.tasks
        ],
        "note": row.note,
        "tags": "/".join(row.tags) or None,
        "runner": row.runner,
        "owner": user(row.owner),
        "created": time(row.created),
        "updated": time(row.updated),
        "visibility": row.visibility,
        "image": row.image,
        "arch": row.arch,
        "group": row.group_id,
        "attempt": row.attempt,
        "fault": row.fault,
    }


def group(config: Config, row: JobGroup, jobs: Iterable[Job]) -> dict[str, Any]:
    return {
        "id": row.id,
        "note": row.note,
        "owner": user(row.owner),
        "created": time(row.created),
        "updated": time(row.updated),
        "triggers": row.triggers,
        "jobs": [job(config, member) for member in jobs],
    }


def artifact(config: Config, row: Artifact) -> dict[str, Any]:
    return {
        "id": row.id,
        "created": time(row.created),
        "path": row.path,
        "name": row.name,
        "url": urls.artifact(config.web.origin, row.job_id, row.secret, row.name),
        "size": row.size,
        "sha256": row.sha256.hex(),
        "expires": time(row.expires),
        "deleted": time(row.deleted) if row.deleted else None,
    }


def happening(config: Config, what: Happening) -> tuple[str, dict[str, Any]]:
    """An event's name and data."""
    match what:
        case JobMoved(status, cause, date):
            return "status", {"status": status, "cause": cause, "date": time(date)}
        case TaskMoved(task, status, date):
            return "task", {"task": task, "status": status, "date": time(date)}
        case LogGrew(task, offset, size, text):
            said = {} if text is None else {"text": text}
            return "log", {"task": task, "offset": offset, "size": size, **said}
        case ArtifactKept(row):
            shown = artifact(config, row)
            return "artifact", {name: shown[name] for name in ("name", "path", "size", "url")}
        case JobOver(status):
            return "end", {"status": status}


def page(results: Sequence[dict[str, Any]], following: int | None, total: int) -> dict[str, Any]:
    """Part of a list; `?start=` with `next` asks for the part that follows."""
    return {"next": following, "results": results, "results_per_page": PAGE, "total": total}


def user(row: User) -> dict[str, str]:
    return {"canonical_name": row.canonical_name, "name": row.name}


def time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
