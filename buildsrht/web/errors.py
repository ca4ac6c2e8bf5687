"""Errors as pages."""

from functools import partial

from flask import Blueprint, Response, make_response, render_template
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from buildsrht.backend import OUTAGES
from buildsrht.errors import BadInput, BuildsError, TooMany, Unavailable
from buildsrht.serving import RETRY_SECONDS, STATUSES, log_outage
from buildsrht.web import browser


def install(pages: Blueprint) -> None:
    for kind, status in {**STATUSES, BadInput: 400, Unavailable: 503}.items():
        pages.register_error_handler(kind, partial(_refused, status))
    pages.register_error_handler(TooMany, _too_many)
    for outage in OUTAGES:
        pages.register_error_handler(outage, _unavailable)
    pages.register_error_handler(HTTPException, _http_error)


def no_such_address() -> Response:
    """For people who went where nothing is, which is on none of our pages."""
    html = render_template("error.html", said="there is no such page", **browser.frame())
    return browser.finish(make_response(html, 404))


def _page(status: int, said: str) -> tuple[str, int]:
    return render_template("error.html", said=said), status


def _refused(status: int, error: BuildsError) -> ResponseReturnValue:
    return _page(status, str(error))


def _too_many(error: TooMany) -> ResponseReturnValue:
    return *_page(429, str(error)), {"Retry-After": str(error.seconds)}


def _unavailable(error: Exception) -> ResponseReturnValue:
    # Not a page: each asks the database who browses.
    headers = {"Retry-After": str(RETRY_SECONDS), "Content-Type": "text/plain; charset=utf-8"}
    return f"{log_outage(error)}\n", 503, headers


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:
        return error.response
    return _page(error.code or 500, error.description or error.name)
