"""A server that answers on a real port, for clients in processes of their own."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from socket import create_server, socket

from flask import Flask
from werkzeug.serving import make_server

from buildsrht.app import create_app
from buildsrht.backend import Backend


@contextmanager
def live_server(backend: Backend, runner: str) -> Iterator[Backend]:
    """The backend of a server that answers on its origin, and whose build host is `runner`."""
    with closing(create_server(("127.0.0.1", 0))) as listener:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = replace(
            backend.config,
            web=replace(backend.config.web, origin=origin),
            worker=replace(backend.config.worker, name=runner),
        )
        backend = replace(backend, config=settings)
        with served(create_app(backend), listener):
            yield backend


@contextmanager
def served(app: Flask, listener: socket) -> Iterator[None]:
    """Answer on this listener with an application that is there already."""
    server = make_server("127.0.0.1", 0, app, threaded=True, fd=listener.fileno())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
