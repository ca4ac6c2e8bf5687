"""Whatever goes wrong is answered in one shape: `{"errors": [{"field": ..., "reason": ...}]}`.

`field` is absent where no single field is to blame. The class of an error decides the status. Our
own mistakes are logged with their traceback, and the client learns no more than that there was
one.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from flask import Flask
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from buildsrht.backend import OUTAGES
from buildsrht.errors import BadInput, BuildsError, FieldError, TooMany
from buildsrht.oauth import ScopeMissing, TokenRefused
from buildsrht.serving import RETRY_SECONDS, STATUSES, log_outage


def install(app: Flask) -> None:
    app.register_error_handler(BadInput, _bad_input)
    app.register_error_handler(TokenRefused, partial(_challenged, 401))
    app.register_error_handler(ScopeMissing, partial(_challenged, 403))
    app.register_error_handler(TooMany, _too_many)
    for kind, status in STATUSES.items():
        app.register_error_handler(kind, partial(_refused, status))
    for outage in OUTAGES:
        app.register_error_handler(outage, _unavailable)
    # Also what Flask makes of any other exception, after it has logged the traceback.
    app.register_error_handler(HTTPException, http_error)


def _envelope(errors: Iterable[FieldError]) -> dict[str, Any]:
    return {
        "errors": [
            {"field": field, "reason": reason} if field else {"reason": reason}
            for field, reason in errors
        ]
    }


def _one(reason: str) -> dict[str, Any]:
    return _envelope([FieldError(None, reason)])


def _bad_input(error: BadInput) -> ResponseReturnValue:
    return _envelope(error.errors), 400


def _refused(status: int, error: BuildsError) -> ResponseReturnValue:
    return _one(str(error)), status


def _challenged(status: int, error: TokenRefused | ScopeMissing) -> ResponseReturnValue:
    return _one(str(error)), status, {"WWW-Authenticate": error.challenge}


def _too_many(error: TooMany) -> ResponseReturnValue:
    return _one(str(error)), 429, {"Retry-After": str(error.seconds)}


def _unavailable(error: Exception) -> ResponseReturnValue:
    return _one(log_outage(error)), 503, {"Retry-After": str(RETRY_SECONDS)}


def http_error(error: HTTPException) -> ResponseReturnValue:
    # What it says of itself matters: Allow, Content-Range. What it has for people does not.
    headers = Headers(error.get_headers())
    headers.remove("Content-Type")
    return _one(error.description or error.name), error.code or 500, headers
