"""All problems of a request at once, before anything is done."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from buildsrht.errors import BadInput, FieldError

T = TypeVar("T")


class Problems:
    """Values are checked one after another; `insist` raises what was wrong with them."""

    def __init__(self) -> None:
        self._found: list[FieldError] = []

    def note(self, problems: Iterable[FieldError]) -> None:
        self._found += problems

    def checked(self, value: Any, check: Callable[[Any], T]) -> T | None:
        """A value as `check` returns it; None if it is absent, null or wrong."""
        try:
            return None if value is None else check(value)
        except BadInput as bad:
            self.note(bad.errors)
            return None

    def insist(self) -> None:
        """Raise BadInput if anything was wrong so far."""
        if self._found:
            raise BadInput(self._found)
