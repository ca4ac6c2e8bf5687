"""The backend, for as long as one command of an operator needs it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsrht.backend import Backend


@contextmanager
def opened_backend() -> Iterator["Backend"]:
    from buildsrht import config, database
    from buildsrht.backend import open_backend

    settings = config.load()
    database.require_current(settings)
    backend = open_backend(settings)
    try:
        yield backend
    finally:
        backend.close()
