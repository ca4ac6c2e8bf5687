"""Jobs: looked at, submitted, started and cancelled; their tasks, logs and artifacts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ariadne import EnumType, MutationType, ObjectType, QueryType

from buildsrht import manifest as manifests
from buildsrht import urls
from buildsrht.errors import BadInput, NotFound
from buildsrht.graphql.context import Context
from buildsrht.graphql.groups import groups_of
from buildsrht.graphql.pages import read_page
from buildsrht.logs import LogName
from buildsrht.models import (
    Artifact,
    Fault,
    Job,
    JobGroup,
    JobStatus,
    Secret,
    Task,
    TaskStatus,
    User,
    Visibility,
)
from buildsrht.services import artifacts as artifact_service
from buildsrht.services import jobs as job_service
from buildsrht.services import lists, pins
from buildsrht.services.secrets import named_among

MOST_INT = 2**31 - 1
LOG_TAIL = 128 * 1024
# More than anybody has a use for.
MOST_SECRETS = 10_000

query = QueryType()
mutation = MutationType()
user = ObjectType("User")
job = ObjectType("Job")
task = ObjectType("Task")
log = ObjectType("Log")
artifact = ObjectType("Artifact")
ENUMS = [
    EnumType("JobStatus", JobStatus),
    EnumType("TaskStatus", TaskStatus),
    EnumType("Fault", Fault),
    EnumType("Visibility", Visibility),
]


# --- lists ------------------------------------------------------------------------------------


@query.field("jobs")
def resolve_own_jobs(_: Any, info: Any, cursor: str | None = None) -> dict[str, Any]:
    context: Context = info.context
    return _jobs_of(context.viewer, context, cursor)


@user.field("jobs")
def resolve_jobs_of_user(row: User, info: Any, cursor: str | None = None) -> dict[str, Any]:
    return _jobs_of(row, info.context, cursor)


def _jobs_of(owner: User, context: Context, cursor: str | None) -> dict[str, Any]:
    return context.once(
        ("jobs", owner.id, cursor),
        lambda: read_page(
            f"jobs:{owner.id}",
            cursor,
            lambda start, count: lists.jobs_of(
                context.session, owner, context.viewer, start, count
            ),
        ),
    )


# --- one job ----------------------------------------------------------------------------------


@query.field("job")
def resolve_job(_: Any, info: Any, id: int) -> Job | None:
    context: Context = info.context
    try:
        return job_service.require_job(context.session, id, context.viewer)
    except NotFound:
        return None


@job.field("url")
def resolve_url(row: Job, info: Any) -> str:
    return urls.job_page(info.context.origin, row.owner.name, row.id)


@job.field("group")
def resolve_group(row: Job, info: Any) -> JobGroup | None:
    context: Context = info.context
    if row.group_id is None:
        return None
    found = context.together(groups_of, row, lambda each: each.group_id)
    return found[0] if found else None


@job.field("artifacts")
def resolve_artifacts(row: Job, info: Any) -> list[Artifact] | None:
    context: Context = info.context
    return context.together(_artifacts_of, row, lambda each: each.id)


def _artifacts_of(context: Context, job_ids: Collection[int]) -> dict[int, list[Artifact]]:
    return artifact_service.artifacts_of(context.session, job_ids)


@job.field("secrets")
def resolve_secrets(row: Job, info: Any) -> list[Secret] | None:
    context: Context = info.context
    if not row.secrets or row.owner_id != context.viewer.id:
        return None
    own = context.once(
        "secrets", lambda: lists.secrets_of(context.session, context.viewer, None, MOST_SECRETS)
    )
    return list(named_among(own, _named(row)).values()) if own else []


def _named(row: Job) -> tuple[str, ...]:
    """The secrets that a job's manifest names."""
    try:
        return manifests.parse(row.manifest).secrets
    except BadInput:
        # Accepted by an older release.
        return ()


@job.field("tasks")
def resolve_tasks(row: Job, info: Any) -> list[Task] | None:
    context: Context = info.context
    if context.payload is not None and row is context.payload.job:
        # Put back into the states that they were in.
        return row.tasks
    return context.together(_tasks_of, row, lambda each: each.id)


def _tasks_of(context: Context, job_ids: Collection[int]) -> dict[int, list[Task]]:
    return lists.tasks_of(context.session, job_ids)


@artifact.field("size")
def resolve_size(row: Artifact, _: Any) -> int:
    return min(row.size, MOST_INT)


@artifact.field("url")
def resolve_artifact_url(row: Artifact, info: Any) -> str | None:
    if artifact_service.is_gone(row):
        return None
    return urls.artifact(info.context.origin, row.job_id, row.secret, row.name)


@artifact.field("sha256")
def resolve_sha256(row: Artifact, _: Any) -> str:
    return row.sha256.hex()


# --- logs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FoundLog:
    name: LogName
    url: str


@job.field("log")
def resolve_setup_log(row: Job, info: Any) -> FoundLog:
    return FoundLog(LogName(row.id, None), urls.setup_log(info.context.origin, row.id))


@task.field("log")
def resolve_task_log(row: Task, info: Any) -> FoundLog:
    url = urls.task_log(info.context.origin, row.job_id, row.name)
    return FoundLog(LogName(row.job_id, row.id), url)


@log.field("fullURL")
def resolve_full_url(found: FoundLog, _: Any) -> str:
    return found.url


@log.field("last128KiB")
def resolve_tail(found: FoundLog, info: Any) -> str:
    """Of what is no UTF-8, and of a character that begins before, others stand in its place."""
    context: Context = info.context
    view = context.backend.logs.view(context.session, found.name)
    start = max(0, view.size - LOG_TAIL)
    tail = b"".join(view.read(start, view.size))
    return tail.decode("utf-8", "replace")


# --- submit, start, cancel --------------------------------------------------------------------


@mutation.field("start")
def start(_: Any, info: Any, jobID: int) -> Job:
    context: Context = info.context
    job_service.start(context.backend, jobID, context.viewer)
    return job_service.require_job(context.session, jobID, context.viewer)


@mutation.field("cancel")
def cancel(_: Any, info: Any, jobId: int) -> Job:
    context: Context = info.context
    job_service.cancel(context.backend, jobId, context.viewer)
    return job_service.require_job(context.session, jobId, context.viewer)


@mutation.field("pin")
def pin(_: Any, info: Any, jobId: int, pinned: bool | None = None) -> Job:
    context: Context = info.context
    change = pins.unpin if pinned is False else pins.pin
    change(context.backend, jobId, context.viewer)
    return job_service.require_job(context.session, jobId, context.viewer)


BINDABLES = [query, mutation, user, job, task, log, artifact, *ENUMS]
