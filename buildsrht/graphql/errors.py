"""Errors as a response has them: `message`, `path`, `locations`, and `extensions` with a `code` for
programs and, where one argument is to blame, the `field`.

The class of an error decides the code. One that names several problems becomes several. Our own
mistakes are logged with their traceback, and the client learns no more than that there was one.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from graphql import GraphQLError
from psycopg2.errors import QueryCanceled
from sqlalchemy.exc import DBAPIError

from buildsrht.backend import OUTAGES, outage_words
from buildsrht.errors import (
    BadInput,
    BuildsError,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    NotFound,
    TooMany,
)
from buildsrht.graphql.context import SECONDS, LimitExceeded

log = logging.getLogger(__name__)

MOST = 100
# What the text of the request is, before anything of it was done.
BAD_QUERY = "BAD_QUERY"
BAD_INPUT = "BAD_INPUT"
CODES: dict[type[BuildsError], str] = {
    LimitExceeded: "LIMIT",
    TooMany: "LIMIT",
    Forbidden: "FORBIDDEN",
    NotFound: "NOT_FOUND",
    Conflict: "CONFLICT",
    Gone: "GONE",
}


def show_errors(errors: Iterable[GraphQLError]) -> list[dict[str, Any]]:
    """The first of them: a list of a hundred thousand tags may be wrong as often."""
    return list(islice((shown for error in errors for shown in _show(error)), MOST))


def _show(error: GraphQLError) -> Iterator[dict[str, Any]]:
    cause = _cause(error)
    if isinstance(cause, BadInput):
        problems = cause.errors
    else:
        problems = (FieldError(getattr(cause, "field", None), _reason(error, cause)),)
    for field, reason in problems:
        extensions = {"code": _code(cause), "field": field, "grant": getattr(cause, "grant", None)}
        yield {
            **error.formatted,
            "message": f"{field}: {reason}" if field else reason,
            "extensions": {name: value for name, value in extensions.items() if value},
        }


def _cause(error: GraphQLError) -> Exception | None:
    """What went wrong in a resolver, or which limit was met; None if the text itself is wrong."""
    cause = error.original_error
    if error.path is None and not isinstance(cause, BuildsError):
        return None
    return cause


def _code(cause: Exception | None) -> str:
    if cause is None:
        return BAD_QUERY
    if isinstance(cause, BadInput):
        return BAD_INPUT
    if _ran_out_of_time(cause):
        return CODES[LimitExceeded]
    if isinstance(cause, OUTAGES):
        return "UNAVAILABLE"
    return next((code for kind, code in CODES.items() if isinstance(cause, kind)), "INTERNAL")


def _reason(error: GraphQLError, cause: Exception | None) -> str:
    if cause is None or isinstance(cause, tuple(CODES)):
        return error.message
    if _ran_out_of_time(cause):
        return f"this takes longer than the {SECONDS} seconds that a query may"
    if isinstance(cause, OUTAGES):
        # SQLAlchemy's own text repeats the statement.
        reason = str(getattr(cause, "orig", None) or cause).strip()
        log.error("%s: %s: %s", _place(error), type(cause).__name__, reason)
        return outage_words(cause)
    log.error("%s", _place(error), exc_info=cause)
    return "an internal error of this service; its log has more"


def _ran_out_of_time(cause: Exception) -> bool:
    return isinstance(cause, DBAPIError) and isinstance(cause.orig, QueryCanceled)


def _place(error: GraphQLError) -> str:
    return "query " + ".".join(str(step) for step in error.path or ())
