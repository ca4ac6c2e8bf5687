"""A build host that does with a job what a test wants, and only that."""

from collections.abc import Iterable

from buildsrht.backend import Backend
from buildsrht.errors import Conflict
from buildsrht.logs import LogName, LogWriter
from buildsrht.models import Artifact, Fault, Job, JobStatus, TaskStatus
from buildsrht.services import artifacts, runs
from buildsrht.services.jobs import log_name
from buildsrht.services.runs import Run
from worker.logbook import seal_spool


def claim(backend: Backend, job_id: int, runner: str) -> Run | None:
    """Have a build host take this job, whoever's turn it is; None if it cannot be had."""
    try:
        with backend.transaction() as session:
            return runs.begin(backend, session, job_id, runner)
    except Conflict:
        return None


def finish(
    backend: Backend,
    run: Run,
    status: JobStatus,
    cause: str | None = None,
    fault: Fault | None = None,
) -> JobStatus:
    """End a job whose logs are no matter; returns how it ended."""
    with backend.transaction() as session:
        return runs.finish(session, run, status, cause, fault)


def keep(backend: Backend, run: Run, path: str, chunks: Iterable[bytes]) -> Artifact:
    """Keep an artifact, as a run does after its tasks."""
    upload = artifacts.upload_artifact(backend, run, path, chunks)
    return artifacts.keep_artifact(backend, run, upload)


class BuildHost:
    """Takes a job, and does with its tasks, logs and artifacts what a test wants."""

    def __init__(self, backend: Backend, job_id: int):
        run = claim(backend, job_id, "host-1")
        assert run
        self._backend = backend
        self._run = run
        self._spools = backend.config.worker.path / f"{job_id}-spool"
        self._spools.mkdir(parents=True)
        self._writers: dict[str | None, LogWriter] = {}

    def write(self, task: str | None, said: str | bytes) -> None:
        self._writer(task).write(said.encode() if isinstance(said, str) else said)

    def start(self, task: str) -> None:
        self._move(task, TaskStatus.RUNNING)

    def end(self, task: str, status: str = "success") -> None:
        self._seal(task)
        self._move(task, TaskStatus(status))

    def skip(self, task: str) -> None:
        self._move(task, TaskStatus.SKIPPED)

    def keep(self, path: str, data: bytes) -> None:
        keep(self._backend, self._run, path, [data])

    def finish(self, status: str = "success") -> None:
        for task in {None, *self._writers}:
            self._seal(task)
        finish(self._backend, self._run, JobStatus(status))

    def _move(self, task: str, to: TaskStatus) -> None:
        runs.move_run_task(self._backend, self._run, self._run.task_ids[task], to)

    def _writer(self, task: str | None) -> LogWriter:
        if task not in self._writers:
            spool = self._spools / (task or ".setup")
            self._writers[task] = LogWriter(
                self._backend.logs, self._name(task), self._run.attempt, spool
            )
        return self._writers[task]

    def _seal(self, task: str | None) -> None:
        writer = self._writer(task)
        writer.close()
        seal_spool(self._backend, writer.name, self._run.attempt, writer.spool)
        del self._writers[task]

    def _name(self, task: str | None) -> LogName:
        with self._backend.transaction() as session:
            return log_name(session.get_one(Job, self._run.job_id), task)
