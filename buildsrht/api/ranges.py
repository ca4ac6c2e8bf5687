"""Answer GET and HEAD for bytes that can be read by offset: all of them, or one range.

What is complete has a digest, which is its ETag: it can be revalidated, and a download resumed
(RFC 9110, sections 13 and 14). What may still grow has none, and a range that begins at its end
is no mistake there: nothing has come yet. That is answered with 206 and no bytes, because `hut`,
which follows a log with ranges, takes both 200 and 416 for failure. It also insists on two offsets
in Content-Range, where nothing is there at all: it is told of the one that it begins with.
"""

import logging
import re
from collections.abc import Callable, Iterator

from flask import Response, request
from werkzeug.exceptions import InternalServerError, RequestedRangeNotSatisfiable

log = logging.getLogger(__name__)

# The bytes from the first offset up to the second, exclusive.
Reader = Callable[[int, int], Iterator[bytes]]

RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)


def respond(read: Reader, size: int, digest: bytes | None, *, may_grow: bool = False) -> Response:
    """The bytes that the request asks for. The caller adds what they mean."""
    etag = digest.hex() if digest else None
    if etag and request.if_none_match.contains_weak(etag):
        response = Response(status=304)
    else:
        response = _bytes(read, size, _wanted(size, etag), may_grow)
    if etag:
        response.set_etag(etag)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _wanted(size: int, etag: str | None) -> tuple[int, int] | None:
    """The one range that the request asks for, cut to `size`; empty if it begins at the end.

    None means everything: no range, more than one, one that makes no sense, or the rest of
    something else, by its If-Range.
    """
    match = RANGE.fullmatch(request.headers.get("Range", ""))
    if not match or not (match[1] or match[2]) or not _is_same(etag):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    first = int(match[1])
    if not match[2]:
        return min(first, size), size
    last = int(match[2])
    return (min(first, size), min(last + 1, size)) if first <= last else None


def _is_same(etag: str | None) -> bool:
    """Whether a client that resumes has the beginning of this."""
    condition = request.headers.get("If-Range")
    return condition is None or condition == f'"{etag}"'


def _bytes(read: Reader, size: int, wanted: tuple[int, int] | None, may_grow: bool) -> Response:
    if wanted is None:
        return _stream(read, 0, size, 200)
    start, end = wanted
    if start < end:
        response = _stream(read, start, end, 206)
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return response
    if not may_grow and size > 0:
        raise RequestedRangeNotSatisfiable(size)
    response = _stream(read, size, size, 206)
    response.headers["Content-Range"] = f"bytes */{size}" if size else "bytes 0-0/*"
    return response


def _stream(read: Reader, start: int, end: int, status: int) -> Response:
    try:
        chunks = read(start, end)
    except FileNotFoundError as error:
        log.error("%s is in the database and not in storage", request.path)
        raise InternalServerError("its bytes are missing from storage") from error
    response = Response(chunks, status)
    response.content_length = end - start
    return response
