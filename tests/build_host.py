"""A build host that does with a job what a test wants, and only that."""

from buildsrht.backend import Backend
from buildsrht.logs import LogName
from buildsrht.models import Job, JobStatus, TaskStatus
from buildsrht.services import runs
from buildsrht.services.jobs import log_name


class BuildHost:
    """Takes a job, and does with its tasks and logs what a test wants."""

    def __init__(self, backend: Backend, job_id: int):
        run = runs.claim(backend, job_id, "host-1")
        assert run
        self._backend = backend
        self._run = run

    def write(self, task: str | None, text: str) -> None:
        self._backend.logs.append(self._name(task), text.encode())

    def start(self, task: str) -> None:
        self._move(task, TaskStatus.RUNNING)

    def end(self, task: str, status: str = "success") -> None:
        self._move(task, TaskStatus(status))
        self._seal(task)

    def finish(self, status: str = "success") -> None:
        self._seal(None)
        runs.finish(self._backend, self._run, JobStatus(status))

    def _move(self, task: str, to: TaskStatus) -> None:
        runs.move_run_task(self._backend, self._run, self._run.task_ids[task], to)

    def _seal(self, task: str | None) -> None:
        logs, name = self._backend.logs, self._name(task)
        with self._backend.transaction() as session:
            logs.seal(session, name, logs.live_chunks(name))
        logs.drop_live(name)

    def _name(self, task: str | None) -> LogName:
        with self._backend.transaction() as session:
            return log_name(session.get_one(Job, self._run.job_id), task)
