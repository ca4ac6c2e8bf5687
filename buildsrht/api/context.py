"""The Backend that serves this request."""

from flask import Flask, current_app

from buildsrht.backend import Backend

EXTENSION = "buildsrht.backend"


def install(app: Flask, backend: Backend) -> None:
    app.extensions[EXTENSION] = backend


def current_backend() -> Backend:
    backend: Backend = current_app.extensions[EXTENSION]
    return backend
