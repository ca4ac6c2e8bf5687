"""Read what a request says, field by field, and refuse it with all of its problems at once.

Nothing is coerced: "false" is no boolean and true is no integer. Null means that the field is
absent. Text is Unicode without NUL, which is what the database can keep. Keys that nobody asks
for are ignored, so that newer clients can talk to an older server.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from flask import request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from buildsrht.errors import BadInput, FieldError

T = TypeVar("T")

# A megabyte of numbers in place of tags has half a million problems, and nobody reads them.
MOST_PROBLEMS = 100

# A kind takes a field's name and its value, and returns the value or raises BadInput.
Kind = Callable[[str, Any], T]


def _refuse(name: str, reason: str) -> NoReturn:
    raise BadInput([FieldError(name, reason)])


# --- kinds ------------------------------------------------------------------------------------


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(name, "must be a string")
    if "\0" in value:
        _refuse(name, "may not contain a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(name, "is not valid Unicode: it contains half of a surrogate pair")
    return value


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        _refuse(name, "must be true or false")
    return value


def integer(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        _refuse(name, "must be an integer")
    return value


def list_of(kind: Kind[T]) -> Kind[list[T]]:
    def read(name: str, value: Any) -> list[T]:
        if not isinstance(value, list):
            _refuse(name, "must be a list")
        items: list[T] = []
        problems: list[FieldError] = []
        for index, item in enumerate(value):
            try:
                items.append(kind(name, item))
            except BadInput as bad:
                problems += [FieldError(name, f"[{index}] {reason}") for _, reason in bad.errors]
            if len(problems) >= MOST_PROBLEMS:
                break
        if problems:
            raise BadInput(problems)
        return items

    return read


def anything(name: str, value: Any) -> Any:
    """For a field whose rules its service checks as a whole."""
    return value


def anything_of(kind: type[T], called: str) -> Kind[T]:
    """The same, where it must be of this kind."""

    def read(name: str, value: Any) -> T:
        if not isinstance(value, kind):
            _refuse(name, f"must be {called}")
        return value

    return read


# --- requests ---------------------------------------------------------------------------------


class Fields:
    """The fields of one request. A value that is wrong is noted, and `insist` raises the lot."""

    def __init__(self, document: Mapping[str, Any]):
        self._document = document
        self._problems: list[FieldError] = []

    def required(self, name: str, kind: Kind[T], check: Callable[[T], Any] | None = None) -> Any:
        if self._document.get(name) is None:
            self._problems.append(FieldError(name, "is required"))
        return self.optional(name, kind, check)

    def optional(
        self,
        name: str,
        kind: Kind[T],
        check: Callable[[T], Any] | None = None,
        default: Any = None,
    ) -> Any:
        """The field as `check` returns it, or `default` where the request has none."""
        value = self._document.get(name)
        if value is None:
            return default
        try:
            sound = kind(name, value)
            return check(sound) if check else sound
        except BadInput as bad:
            self._problems += bad.errors
            return default

    def insist(self) -> None:
        """Raise BadInput if any field read so far was wrong."""
        if self._problems:
            raise BadInput(self._problems)


def json_object() -> dict[str, Any]:
    """The request's body, which must be a JSON object. Without a Content-Type it is tried."""
    if request.mimetype and not request.is_json:
        raise UnsupportedMediaType(f"send application/json, not {request.mimetype}")
    return parse_object(request.get_data(), "the body")


def parse_object(text: str | bytes, called: str) -> dict[str, Any]:
    """The JSON object that `text` is."""
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise BadRequest(f"{called} is nested too deeply") from error
    except ValueError as error:
        raise BadRequest(f"{called} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"{called} must be a JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def requested_word(name: str, words: Sequence[str]) -> str | None:
    """One of these words, from the query of the address."""
    word = request.args.get(name)
    if word is not None and word not in words:
        _refuse(name, f"must be one of {', '.join(words)}")
    return word


def requested_start() -> int | None:
    """The id that the wanted page of a list begins with, from `?start=`."""
    start = request.args.get("start")
    if start is None:
        return None
    if not (start.isascii() and start.isdecimal() and len(start) <= 18):
        _refuse("start", "must be the `next` of the page before")
    return int(start)


def requested_number(name: str, *, least: int, most: int) -> int | None:
    """A whole number, from the query of the address."""
    text = request.args.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,16}", text, re.ASCII) or not least <= int(text) <= most:
        _refuse(name, f"must be a whole number from {least} to {most}")
    return int(text)
