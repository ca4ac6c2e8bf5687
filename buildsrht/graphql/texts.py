"""Text in arguments: Unicode without NUL, which is what the database can keep."""

from collections.abc import Iterator, Mapping
from typing import Any

from buildsrht.errors import BadInput, FieldError


def check(arguments: Mapping[str, Any]) -> None:
    """Raise BadInput naming each argument that has other text in it, however deep."""
    problems = [
        FieldError(name, reason) for name, value in arguments.items() for reason in _problems(value)
    ]
    if problems:
        raise BadInput(problems)


def _problems(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield from _problems_of_text(value)
        case list():
            for item in value:
                yield from _problems(item)
        case dict():
            for item in value.values():
                yield from _problems(item)


def _problems_of_text(text: str) -> Iterator[str]:
    if "\0" in text:
        yield "may not contain a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        yield "is not valid Unicode: it contains half of a surrogate pair"
