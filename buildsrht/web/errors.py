"""Errors as pages."""

import logging
from functools import partial

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from buildsrht.api.errors import RETRY_SECONDS, STATUSES
from buildsrht.backend import OUTAGES
from buildsrht.errors import BadInput, BuildsError, TooMany, Unavailable

log = logging.getLogger(__name__)


def install(pages: Blueprint) -> None:
    for kind, status in {**STATUSES, BadInput: 400, Unavailable: 503}.items():
        pages.register_error_handler(kind, partial(_refused, status))
    pages.register_error_handler(TooMany, _too_many)
    for outage in OUTAGES:
        pages.register_error_handler(outage, _unavailable)
    pages.register_error_handler(HTTPException, _http_error)


def _page(status: int, said: str) -> tuple[str, int]:
    return render_template("error.html", said=said), status


def _refused(status: int, error: BuildsError) -> ResponseReturnValue:
    return _page(status, str(error))


def _too_many(error: TooMany) -> ResponseReturnValue:
    return *_page(429, str(error)), {"Retry-After": str(error.seconds)}


def _unavailable(error: Exception) -> ResponseReturnValue:
    reason = str(getattr(error, "orig", None) or error).strip()
    log.error("%s %s: %s: %s", request.method, request.path, type(error).__name__, reason)
    # Not a page: each asks the database who browses.
    said = "The database or the queue does not answer. Try again in a moment.\n"
    headers = {"Retry-After": str(RETRY_SECONDS), "Content-Type": "text/plain; charset=utf-8"}
    return said, 503, headers


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    return _page(error.code or 500, error.description or error.name)
