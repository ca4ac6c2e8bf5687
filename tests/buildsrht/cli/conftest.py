"""The command line in this process, against a server that listens on a real port."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from flask import Flask
from werkzeug.serving import make_server

from buildsrht.backend import Backend
from buildsrht.cli import main
from buildsrht.logs import LogName
from buildsrht.models import Job, JobStatus, TaskStatus
from buildsrht.services import runs
from buildsrht.services.jobs import log_name
from tests.buildsrht.cli.program import VARIABLES


class Done(NamedTuple):
    """What a command did: its exit status and all that it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(clean_environment: None, capsys) -> Callable[..., Done]:
    """Run `buildsrht` with these arguments: `command("show", 1)`."""

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(int(exit_.value.code or 0), out, err)

    return run


@pytest.fixture
def server(app: Flask) -> Iterator[str]:
    """The address of the API."""
    with serving(app) as url:
        yield url


@contextmanager
def serving(app: Flask, port: int = 0) -> Iterator[str]:
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def as_owner(command, server, token, owner, monkeypatch) -> Callable[..., Done]:
    """Run a command of a client, with the address of the server and a token of the owner."""
    monkeypatch.setenv("BUILDSRHT_URL", server)
    monkeypatch.setenv("BUILDSRHT_TOKEN", token(owner))
    return command


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


@pytest.fixture
def build_host(backend: Backend) -> Callable[[int], BuildHost]:
    return lambda job_id: BuildHost(backend, job_id)
