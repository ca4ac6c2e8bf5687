"""The command line in this process, against a server that listens on a real port."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from flask import Flask
from werkzeug.serving import make_server

from buildsrht.backend import Backend
from buildsrht.cli import main
from tests.build_host import BuildHost
from tests.buildsrht.cli.program import VARIABLES


class Done(NamedTuple):
    """What a command did: its exit status and all that it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


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
def on_server(command, backend, monkeypatch) -> Callable[..., Done]:
    """Run a command of an operator, with the configuration of the tests' servers."""
    config = backend.config.var / "server.ini"
    config.write_text(f"[images]\nrecipes = {backend.config.images.recipes}\n")
    monkeypatch.setenv("VAR", str(backend.config.var))
    monkeypatch.setenv("BUILDSRHT_CONFIG", str(config))
    return command


@pytest.fixture
def as_owner(command, server, token, owner, monkeypatch) -> Callable[..., Done]:
    """Run a command of a client, with the address of the server and a token of the owner."""
    monkeypatch.setenv("BUILDSRHT_URL", server)
    monkeypatch.setenv("BUILDSRHT_TOKEN", token(owner))
    return command


@pytest.fixture
def build_host(backend: Backend) -> Callable[[int], BuildHost]:
    return lambda job_id: BuildHost(backend, job_id)
