"""What is said in the journal, for tests of who says what about which job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from buildsrht import journal


class Line(NamedTuple):
    message: str
    about: dict[str, Any]


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []
        self.addFilter(journal.add_subject)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(Line(record.getMessage(), journal.subject_of(record)))


@contextmanager
def lines_of(*names: str) -> Iterator[list[Line]]:
    """What these loggers, and those below them, say from now on."""
    handler = _Heard()
    loggers = [logging.getLogger(name) for name in names]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(handler)
        each.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
