"""The web service as a process, for tests with real sockets."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

START_SECONDS = 30
SERVE = "from buildsrht import config, web_server; {}web_server.serve(config.load())"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def started(servers, backend, tmp_path, before="", **options):
    """The service with these options of [web], once `before` was done to it; its process and its
    origin. It listens when it has said so."""
    port = options.setdefault("port", free_port())
    settings = tmp_path / "config.ini"
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    recipes = f"[images]\nrecipes = {servers.images.recipes}\n"
    storage = f"[storage]\npath = {backend.config.storage.path}\n"
    settings.write_text(f"{recipes}{storage}[web]\n{lines}")
    environment = {**os.environ, "BUILDSRHT_CONFIG": str(settings), "VAR": str(servers.var)}
    environment.pop("PORT", None)
    command = [sys.executable, "-c", SERVE.format(before)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
