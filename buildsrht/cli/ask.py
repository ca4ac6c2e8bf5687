"""The commands that ask a server something: whether a manifest is good, or any query."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from io import BytesIO
from typing import Any, BinaryIO

import click

from buildsrht.cli.connection import connect
from buildsrht.cli.options import (
    job_id_argument,
    json_option,
    print_json,
    printable,
    read_text,
    say,
)
from buildsrht.cli.progress import bar
from buildsrht.client import Incomplete, Refused

LINT = "query ($manifest: String!) { lint(manifest: $manifest) { path line column reason } }"
# What a server says becomes an argument: none may look like an option, which can run programs.
ADDRESS_PART = re.compile(r"\w[\w.:-]*", re.ASCII)
GATEWAY = "query { version { settings { sshUser sshHost sshPort } } }"


# --- lint -------------------------------------------------------------------------------------


@click.command()
@click.argument("files", metavar="FILE...", type=click.File("rb"), nargs=-1, required=True)
@json_option
def lint(files: Sequence[BinaryIO], as_json: bool) -> int:
    """Print what is wrong with manifests.

    One line for each problem of each FILE, as compilers do: FILE:LINE:COLUMN: which value: what is
    wrong. - is standard input. The exit status is 1 if there is any problem. Nothing is stored.
    """
    manifests = [(file.name, read_text(file)) for file in files]
    found = False
    with connect() as client:
        for name, manifest in manifests:
            for problem in client.graphql(LINT, {"manifest": manifest})["lint"]:
                found = True
                print_json({"file": name, **problem}) if as_json else _print(name, problem)
    return int(found)


def _print(name: str, problem: dict[str, Any]) -> None:
    parts = [name, problem["line"], problem["column"]]
    place = ":".join(str(part) for part in parts if part is not None)
    path = f"{problem['path']}: " if problem["path"] else ""
    click.echo(printable(f"{place}: {path}{problem['reason']}"))


# --- graphql ----------------------------------------------------------------------------------


@click.command()
@click.argument("file", metavar="[FILE]", type=click.File("rb"), default="-")
@click.option(
    "--var", "given", metavar="NAME=VALUE", multiple=True, help="A variable: JSON, or else text."
)
@click.option("--file", "paths", metavar="NAME=PATH", multiple=True, help="A variable: a file.")
def graphql(file: BinaryIO, given: Sequence[str], paths: Sequence[str]) -> int:
    """Send a GraphQL query, and print what it finds.

    The query is in FILE, or comes on standard input. The exit status is 1 if any part of it was
    refused.
    """
    query = read_text(file)
    variables = {name: _value(text) for name, text in _pairs("--var", given)}
    with connect() as client, ExitStack() as opened:
        files = {
            name: _sendable(opened.enter_context(open(path, "rb")))
            for name, path in _pairs("--file", paths)
        }
        size = sum(_size(file) for file in files.values())
        try:
            with bar("Sending", size) as told:
                answer = client.graphql(query, variables | dict.fromkeys(files), files, told)
        except Incomplete as error:
            if error.data is None:
                raise
            say(f"buildsrht: {error}")
            click.echo(_laid_out(error.data))
            return 1
    click.echo(_laid_out(answer))
    return 0


def _pairs(option: str, texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.UsageError(f"{option}: expected NAME=VALUE, got '{text}'.")
        yield name, value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sendable(file: BinaryIO) -> BinaryIO:
    """A file whose size is known before it is sent: a pipe is read at once."""
    return file if file.seekable() else BytesIO(file.read())


def _size(file: BinaryIO) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _laid_out(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


# --- ssh --------------------------------------------------------------------------------------


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-v", "--verbose", is_flag=True, help="Print what is run.")
@job_id_argument
@click.argument("command", metavar="[COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def ssh(verbose: bool, job_id: int, command: Sequence[str]) -> None:
    """Open a shell in the machine of a job.

    Or run COMMAND there. Machines of jobs that failed are kept for a while; `ssh-keys add`
    registers the key that lets you in. Runs OpenSSH.
    """
    with connect() as client:
        gateway = client.graphql(GATEWAY)["version"]["settings"]
    for word in (gateway["sshUser"], gateway["sshHost"]):
        if not ADDRESS_PART.fullmatch(word):
            raise Refused(f"{client.url}: says to connect to {word!r}, which is no address")
    arguments = [
        "ssh",
        # A terminal changes what passes through it: not where a file or a pipe is meant.
        *(["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []),
        *("-p", str(gateway["sshPort"])),
        f"{gateway['sshUser']}@{gateway['sshHost']}",
        *("connect", str(job_id), *command),
    ]
    if verbose:
        say(shlex.join(arguments))
    os.execvp(arguments[0], arguments)


COMMANDS = (lint, graphql, ssh)
