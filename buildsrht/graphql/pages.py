"""Lists, a page at a time, from the row that a cursor names.

A page begins at a row and not at a number, so that what comes meanwhile moves nothing. A cursor is
good for the list that it was made for; clients hand it back as it came.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from buildsrht.errors import BadInput, FieldError

PAGE = 25
# Ids are integers of 32 bits, or of 64.
MOST_DIGITS = 18


class Row(Protocol):
    id: Any


# Takes the id that a page begins with, None for the first, and how many rows are wanted.
Fetch = Callable[[int | None, int], Sequence[Row]]


def read_page(name: str, cursor: str | None, fetch: Fetch) -> dict[str, Any]:
    """One page of the list `name`. Raises BadInput for a cursor of anything else."""
    start = _read_cursor(name, cursor) if cursor else None
    rows = fetch(start, PAGE + 1)
    following = _cursor(name, rows[PAGE].id) if len(rows) > PAGE else None
    return {"results": rows[:PAGE], "cursor": following}


EMPTY: dict[str, Any] = {"results": (), "cursor": None}


def _cursor(name: str, row_id: int) -> str:
    return base64.urlsafe_b64encode(f"{name}:{row_id}".encode()).decode().rstrip("=")


def _read_cursor(name: str, cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    of, _, number = text.rpartition(":")
    if of != name or not (number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS):
        raise BadInput([FieldError("cursor", "is none of this list: hand it back as it came")])
    return int(number)
