"""Bars for what takes a while. On a terminal only: elsewhere nobody watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from buildsrht.cli.options import printable
from buildsrht.client import Told


@contextmanager
def bar(label: str, size: int, *, for_programs: bool = False) -> Iterator[Told]:
    """Shows how much of `size` bytes has been moved, to whoever watches standard error; but not to
    programs, which may run on a terminal, too."""
    if for_programs or not (size and sys.stderr.isatty()):
        yield lambda _: None
        return
    with click.progressbar(length=size, label=printable(label), file=sys.stderr) as shown:
        yield shown.update
