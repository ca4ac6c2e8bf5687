"""What all that answers HTTP has in common: the Backend that serves a request, and how errors are
told apart.

The class of an error decides the status. What that looks like, JSON or a page, is each one's own.
"""

import logging

from flask import Flask, current_app, request

from buildsrht import tracing
from buildsrht.backend import Backend, outage_words
from buildsrht.errors import BuildsError, Conflict, Forbidden, Gone, NotFound, Unauthorized

log = logging.getLogger(__name__)

EXTENSION = "buildsrht.backend"

STATUSES: dict[type[BuildsError], int] = {
    Conflict: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Gone: 410,
}

# For what never changes again. Never in a cache that several users share: whether they may see it
# can change.
FOREVER = "private, max-age=31536000, immutable"

# After which whoever met an outage may try again.
RETRY_SECONDS = 5


def install(app: Flask, backend: Backend) -> None:
    app.extensions[EXTENSION] = backend


def current_backend() -> Backend:
    backend: Backend = current_app.extensions[EXTENSION]
    return backend


def log_outage(error: Exception) -> str:
    """Note that a server which this one needs did not answer; returns what the client learns."""
    path = tracing.shown(request.environ)
    log.error("%s %s: %s: %s", request.method, path, type(error).__name__, reason_of(error))
    return outage_words(error)


def reason_of(outage: Exception) -> str:
    # SQLAlchemy's own text repeats the statement with its parameters.
    return str(getattr(outage, "orig", None) or outage).strip()
