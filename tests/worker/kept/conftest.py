"""A build host that keeps machines: in tests of one process, and in processes of its own."""

import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from buildsrht import config as settings
from buildsrht.backend import Backend
from buildsrht.config import Config


@pytest.fixture
def host(backend: Backend, tmp_path, monkeypatch) -> Callable[..., Backend]:
    """The backend of a host with these options of [ssh]; a process that is started has the same."""

    def make(images: Config | None = None, **ssh) -> Backend:
        config = backend.config
        images = images or config
        worker = replace(config.worker, accelerator="tcg")
        path = tmp_path / "config.ini"
        options = "".join(f"{name} = {value}\n" for name, value in ssh.items())
        path.write_text(
            f"[database]\nurl = {config.database.url}\n[redis]\nurl = {config.redis.url}\n"
            f"[storage]\npath = {config.storage.path}\n[keys]\npath = {config.keys.path}\n"
            f"[worker]\npath = {config.worker.path}\naccelerator = {worker.accelerator}\n"
            f"name = {config.worker.name}\n"
            f"[images]\npath = {images.images.path}\n"
            f"[snapshots]\npath = {images.snapshots.path}\nspares = 0\n"
            f"[ssh]\npath = {config.ssh.path}\n{options}"
        )
        monkeypatch.setenv("BUILDSRHT_CONFIG", str(path))
        return replace(backend, config=settings.load(os.environ))

    return make


@pytest.fixture
def make_kept_job(make_job):
    """A job whose only task is this script: `make_kept_job("exit 1", shell=True)`."""

    def make(script: str, **keys):
        manifest = {"image": "debian/trixie", **keys, "tasks": [{"build": script}]}
        return make_job(manifest=json.dumps(manifest))

    return make
