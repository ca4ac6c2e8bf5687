"""What forms bring, and lists a page at a time."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from flask import request

from buildsrht.errors import BadInput, FieldError

PAGE = 25
# Ids are integers of 32 bits, or of 64.
MOST_DIGITS = 18


class Row(Protocol):
    id: Any


R = TypeVar("R", bound=Row)


class Page(NamedTuple, Generic[R]):
    """Some rows of a list. `next` is the id that the following page begins with."""

    rows: Sequence[R]
    next: int | None


def text(name: str) -> str:
    """A field as it was typed: browsers end lines as nobody types them. Raises BadInput for a NUL,
    which nobody types either and the database cannot keep."""
    return _lines(name, request.form.get(name, ""))


def word(name: str) -> str:
    """A field of one line, without spaces around it."""
    return text(name).strip()


def linked(name: str) -> str:
    """What the link that led here has for a field."""
    return _lines(name, request.args.get(name, ""))


def _lines(name: str, typed: str) -> str:
    if "\0" in typed:
        raise BadInput([FieldError(name, "may not contain a NUL character")])
    return typed.replace("\r\n", "\n").replace("\r", "\n")


def number(typed: str) -> int | None:
    """A number, or None for anything else."""
    is_number = typed.isascii() and typed.isdecimal() and len(typed) <= MOST_DIGITS
    return int(typed) if is_number else None


def tag_path(typed: str) -> list[str]:
    """A path of tags; slashes and spaces around it mean nothing."""
    path = typed.strip("/ ")
    return [tag.strip() for tag in path.split("/")] if path else []


def new_key() -> str:
    """What makes a form one request, however often it is sent."""
    return secrets.token_urlsafe(18)


def read_page(fetch: Callable[[int | None, int], Sequence[R]]) -> Page[R]:
    """The rows of a list from the one that `?from=` names. `fetch` takes its id, None for the
    first page, and how many rows are wanted."""
    rows = fetch(number(request.args.get("from", "")), PAGE + 1)
    return Page(rows[:PAGE], rows[PAGE].id if len(rows) > PAGE else None)
