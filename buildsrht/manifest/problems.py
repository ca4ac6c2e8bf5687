"""What is wrong with a manifest, and where.

Problems are noted in a `Report` while reading goes on, so that a submitter learns of all of them
at once. `Refused` is how a reader stops at a value that it cannot use; the reason is in the
report by then.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from buildsrht.errors import BadInput, FieldError

_PLAIN_KEY = re.compile(r"[\w.@/+-]{1,64}")


class Place(NamedTuple):
    """Where something begins in the text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One reason to refuse a manifest.

    `path` names the value, as in `triggers[0].to`, and is empty for the text as a whole;
    `line` and `column` are None where no single place is to blame.
    """

    path: str
    line: int | None
    column: int | None
    reason: str

    def __str__(self) -> str:
        where = f" (line {self.line}, column {self.column})" if self.line else ""
        return f"{self.path}: {self.reason}{where}" if self.path else f"{self.reason}{where}"


class ManifestError(BadInput):
    """The text is not a manifest; `problems` says everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        super().__init__([FieldError("manifest", str(problem)) for problem in self.problems])


class Refused(Exception):
    """A value cannot be used, and the report says why."""


class Report:
    """The problems found so far."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def note(self, path: str, place: Place | None, reason: str) -> None:
        """Remember a problem and carry on."""
        line, column = place or (None, None)
        self._problems.append(Problem(path, line, column, reason))

    def refuse(self, path: str, place: Place | None, reason: str) -> NoReturn:
        """Remember a problem with a value that cannot be used."""
        self.note(path, place, reason)
        raise Refused

    def insist_on_none(self) -> None:
        """Refuse to build anything from a manifest that already has a problem."""
        if self._problems:
            raise Refused

    def in_document_order(self) -> tuple[Problem, ...]:
        """The problems as a reader of the text meets them."""
        return tuple(sorted(self._problems, key=lambda found: (found.line or 0, found.column or 0)))


def child(path: str, key: str) -> str:
    """Name the value under `key` in the mapping at `path`."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{shown(key)}]"
    return f"{path}.{key}" if path else key


def shown(text: str) -> str:
    """Quote what a submitter wrote, without letting it flood or disturb the message."""
    return repr(text if len(text) <= 60 else text[:59] + "…")
