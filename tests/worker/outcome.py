"""What is left of a job once it is over, for tests to look at."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import select

from buildsrht.backend import Backend
from buildsrht.logs import OVER_SECONDS, LogName
from buildsrht.models import Artifact, Job, JobStatus, Log, TaskStatus


@dataclass(frozen=True)
class Outcome:
    status: JobStatus
    tasks: Mapping[str, TaskStatus]
    setup_log: str
    logs: Mapping[str, str]
    artifacts: Mapping[str, bytes]


def outcome_of(backend: Backend, job_id: int) -> Outcome:
    with backend.transaction() as session:
        job = session.get_one(Job, job_id)
        kept = session.scalars(select(Artifact).where(Artifact.job_id == job_id)).all()
        return Outcome(
            status=job.status,
            tasks={task.name: task.status for task in job.tasks},
            setup_log=read_log(backend, job_id).decode(),
            logs={task.name: read_log(backend, job_id, task.id).decode() for task in job.tasks},
            artifacts={
                artifact.name: b"".join(
                    backend.storage.read(f"artifacts/{job_id}/{artifact.secret}", 0, artifact.size)
                )
                for artifact in kept
            },
        )


def read_log(backend: Backend, job_id: int, task_id: int | None = None) -> bytes:
    with backend.transaction() as session:
        view = backend.logs.view(session, LogName(job_id, task_id))
        return b"".join(view.read(0, view.size))


def assert_nothing_is_left(backend: Backend) -> None:
    """No run directory, no live log, and every log that was written is sealed."""
    work = backend.config.worker.path
    assert not work.exists() or list(work.iterdir()) == []
    assert list(keys_that_stay(backend.redis)) == []


def keys_that_stay(redis: Redis) -> Iterator[str]:
    """But for those that keep runs which were given up from writing: they go by themselves."""
    for key in redis.scan_iter("buildsrht:*"):
        is_fence = key.startswith(b"buildsrht:attempt:")
        if not (is_fence and 0 < redis.ttl(key) <= OVER_SECONDS):
            yield key.decode()


def sealed_logs(backend: Backend, job_id: int) -> int:
    with backend.transaction() as session:
        return len(session.scalars(select(Log).where(Log.job_id == job_id)).all())
