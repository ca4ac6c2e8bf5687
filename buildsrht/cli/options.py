"""Arguments and options that several commands of a client have, and how they print."""

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import click

from buildsrht.cli import completing
from buildsrht.errors import BuildsError

VISIBILITIES = ("public", "unlisted", "private")
# How a job ended, as an exit status. 2 is for a command line that makes no sense.
STATUSES = {"success": 0, "failed": 1, "timeout": 3, "cancelled": 4}

job_id_argument = click.argument(
    "job_id", metavar="ID", type=click.IntRange(min=1), shell_complete=completing.job_ids
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")
note_option = click.option("--note", help="What the job is for, in Markdown.")
tags_option = click.option(
    "--tags", help="Where it belongs, such as project/branch.", shell_complete=completing.tags
)
visibility_option = click.option(
    "--visibility",
    type=click.Choice(VISIBILITIES),
    help="Who may see it: everybody, whoever has the link, or you.",
)
follow_option = click.option(
    "--follow", "following", is_flag=True, help="Print the logs; the exit status is the result."
)
wait_option = click.option(
    "--wait", "waiting", is_flag=True, help="Wait for the end; the exit status is the result."
)


def split_tags(tags: str | None) -> list[str] | None:
    """None stays None: nothing was said."""
    return None if tags is None else [tag for tag in tags.split("/") if tag]


def print_json(value: object) -> None:
    click.echo(json.dumps(value))


def print_rows(rows: Iterable[Iterable[object]]) -> None:
    """One line for each, its columns separated by tabs; what might break a line does not."""
    for row in rows:
        click.echo("\t".join(_one_line(column) for column in row))


def _one_line(value: object) -> str:
    return "" if value is None else printable(" ".join(str(value).split()))


def printable(text: str) -> str:
    """Without what a terminal would act on: somebody else may have written it."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)


def exit_status(endings: Iterable[str]) -> int:
    """0 if every job succeeded; of several other ends the one with the smallest number."""
    return min((STATUSES[ending] for ending in endings if ending != "success"), default=0)


def read_bytes(file: BinaryIO, most: int = -1) -> bytes:
    """What is in a file; whoever is to type it is told so."""
    if file.isatty():
        say("Reading what is typed here, until Ctrl-D.")
    return file.read(most)


def read_text(file: BinaryIO) -> str:
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise BuildsError(f"{file.name}: not UTF-8 at byte {error.start}") from error


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were said something of."""
    return {name: value for name, value in options.items() if value is not None}


def say(line: str) -> None:
    """Tell people, not programs."""
    print(line, file=sys.stderr, flush=True)
