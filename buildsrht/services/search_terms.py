"""The language in which jobs are searched: a line of text becomes terms, or every reason why not.

    fix parser          bare words, each somewhere in the note
    "fix the parser"    as it stands there, spaces and all
    status:failed       a key and a value; KEYS has them all
    tags:"a/b"          what a key is given may be in quotation marks too
    !status:success     all but these; !word as well

A job is found if all terms hold for it. Upper and lower case are the same in texts, and differ in
names. Times are UTC.

Pure: asks no database, so whether an owner or an image is there it does not know.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from buildsrht.errors import BadInput, FieldError
from buildsrht.models import JobStatus, TaskStatus
from buildsrht.services.jobs import TAG_OF_ANY_CASE
from buildsrht.services.users import NAME, NAME_RULE

FIELD = "search"
NOTE = "note"
CHARACTERS = 500
TERMS = 16

_TERM = re.compile(
    r"(?P<negated>!?)(?:(?P<key>[A-Za-z]+):)?"
    r'(?:"(?P<quoted>[^"]*)(?P<closed>"?)|(?P<bare>\S*))\s*'
)
_AGO = re.compile(r"(\d{1,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_TASK = re.compile(r"[a-z0-9_-]{1,128}")
_OPPOSITES = {"since": "before", "before": "since"}


class Term(NamedTuple):
    """`value` is what the key's reader below returns."""

    key: str
    value: Any
    negated: bool = False


class TaskTerm(NamedTuple):
    name: str
    status: TaskStatus | None


def parse(text: str, now: datetime) -> tuple[Term, ...]:
    """Raises BadInput with every problem."""
    if len(text) > CHARACTERS:
        raise _bad(f"at most {CHARACTERS} characters, got {len(text)}")
    if "\0" in text:
        raise _bad("has a NUL character, which no job has")
    terms, problems = [], []
    for match in _matches(text):
        try:
            terms.append(_read(match, now))
        except ValueError as error:
            problems.append(FieldError(FIELD, str(error)))
    if len(terms) > TERMS:
        problems.append(FieldError(FIELD, f"at most {TERMS} terms, got {len(terms)}"))
    if problems:
        raise BadInput(problems)
    return tuple(terms)


def _bad(reason: str) -> BadInput:
    return BadInput([FieldError(FIELD, reason)])


def _matches(text: str) -> Iterator[re.Match[str]]:
    text = text.strip()
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        assert match, "nothing is a term as well"
        yield match
        position = match.end()


def _read(match: re.Match[str], now: datetime) -> Term:
    """Raises ValueError with a sentence that names the term."""
    written = match[0].strip()
    if match["closed"] == "":
        raise ValueError(f"{written}: the quotation mark is never closed")
    key = match["key"].lower() if match["key"] else NOTE
    value = match["bare"] if match["quoted"] is None else match["quoted"]
    if key not in KEYS:
        raise ValueError(
            f"{written}: there is no key {match['key']!r}, only {', '.join(KEYS)};"
            ' to find it in a note, put it into "quotation marks"'
        )
    if not value.strip():
        raise ValueError(f"{written}: nothing is asked for")
    try:
        read = KEYS[key](value, now)
    except ValueError as error:
        raise ValueError(f"{written}: {error}") from None
    negated = bool(match["negated"])
    if negated and key in _OPPOSITES:
        return Term(_OPPOSITES[key], read)
    return Term(key, read, negated)


# --- values: each raises ValueError with the end of a sentence ---------------------------------


def _text(value: str, _: datetime) -> str:
    return value


def _status(value: str, _: datetime) -> JobStatus:
    try:
        return JobStatus(value.lower())
    except ValueError:
        raise ValueError(f"{value!r} is none of {', '.join(JobStatus)}") from None


def _tags(value: str, _: datetime) -> tuple[str, ...]:
    tags = value.strip("/").split("/")
    for tag in tags:
        if not TAG_OF_ANY_CASE.fullmatch(tag):
            raise ValueError(f"{tag!r} cannot be a tag, which is of A-Z, a-z, 0-9, '.', '_', '-'")
    return tuple(tags)


def _owner(value: str, _: datetime) -> str:
    name = value.removeprefix("~")
    if not NAME.fullmatch(name):
        raise ValueError(f"a name {NAME_RULE}")
    return name


def _time(value: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(value)
    if ago:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.combine(date.fromisoformat(value), time(), UTC)
    except ValueError:
        raise ValueError(
            f"{value!r} is neither a day, as 2026-11-01, nor so long ago, as 2h, 3d or 1w"
        ) from None


def _task(value: str, _: datetime) -> TaskTerm:
    name, equals, status = value.partition("=")
    if not _TASK.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a task, which is of a-z, 0-9, '_', '-'")
    if not equals:
        return TaskTerm(name, None)
    try:
        return TaskTerm(name, TaskStatus(status.lower()))
    except ValueError:
        raise ValueError(f"{status!r} is none of {', '.join(TaskStatus)}") from None


def _yes_or_no(value: str, _: datetime) -> bool:
    if value not in ("yes", "no"):
        raise ValueError(f"{value!r} is neither yes nor no")
    return value == "yes"


KEYS: dict[str, Callable[[str, datetime], Any]] = {
    NOTE: _text,
    "status": _status,
    "image": _text,
    "tags": _tags,
    "owner": _owner,
    "runner": _text,
    "since": _time,
    "before": _time,
    "task": _task,
    "manifest": _text,
    "pinned": _yes_or_no,
}
