"""Each request has a number, by which what was said of it is found: a layer around the application.

A proxy may give one in `X-Request-ID`; it comes back with the answer in any case. With `[journal]
requests` each request is a line of its own: who asked for what, with which status, and after how
many milliseconds the answer began. Of an address only the path is told, as queries may hold
secrets, and of that not what lets in whoever knows it.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable
from secrets import token_hex
from typing import Any

from buildsrht import journal

log = logging.getLogger(__name__)

HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The links by which a password is reset and an artifact is downloaded.
SECRET = re.compile(r"^(/+reset/+|/+artifacts/+[^/]*/+)[^/]+")
OF_A_JOB = re.compile(r"/jobs?/([0-9]{1,10})(?:/|$)")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Traced:
    def __init__(self, application: Application, *, told: bool):
        """`told`: whether each request is a line."""
        self._application = application
        self._told = told

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        number = given if GIVEN.fullmatch(given) else token_hex(8)
        begun = time.monotonic()

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if self._told:
                self._tell(environ, status, time.monotonic() - begun)
            return start_response(status, [*headers, (HEADER, number)], *rest)

        with journal.about(request=number, **_job(environ)):
            return self._application(environ, start)

    def _tell(self, environ: dict[str, Any], status: str, seconds: float) -> None:
        log.info(
            "%s %s %s %s in %d ms",
            environ.get("REMOTE_ADDR", "-"),
            environ["REQUEST_METHOD"],
            shown(environ),
            status.partition(" ")[0],
            seconds * 1000,
        )


def _job(environ: dict[str, Any]) -> dict[str, int]:
    found = OF_A_JOB.search(_path(environ))
    return journal.of_job(int(found[1])) if found else {}


def shown(environ: dict[str, Any]) -> str:
    """The path that is asked for, as a journal may have it."""
    return SECRET.sub(r"\1...", _path(environ))


def _path(environ: dict[str, Any]) -> str:
    # WSGI has bytes as Latin-1; what cannot be printed shall not begin a line of its own.
    path: str = environ.get("PATH_INFO", "")
    return (
        path.encode("latin-1", "replace").decode(errors="replace").encode("unicode_escape").decode()
    )
