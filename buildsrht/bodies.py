"""Bodies whose length nobody has said: held to the same limit as all others.

Werkzeug reads of such a body as much as it may, and leaves the rest without a word: what was cut
off would pass for what was sent. Here it is an error, wherever the body is read.
"""

from typing import IO

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge


def install(app: Flask) -> None:
    app.before_request(_count)


def _count() -> None:
    if request.content_length is None:
        request.environ["wsgi.input"] = _Counted(request.environ["wsgi.input"])


class _Counted:
    """A body of the request that is being answered; raises RequestEntityTooLarge in its middle."""

    def __init__(self, body: IO[bytes]):
        self._body = body
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        return self._noted(self._body.read(size))

    def readline(self, size: int = -1) -> bytes:
        return self._noted(self._body.readline(size))

    def _noted(self, data: bytes) -> bytes:
        self._size += len(data)
        most = request.max_content_length
        # As much as that is never asked for again: so whether there is more is not known.
        if most is not None and self._size >= most:
            raise RequestEntityTooLarge
        return data
