"""The command that looks whether this machine is ready to serve."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from buildsrht.cli.operate import PYTHON, SERVICES

if TYPE_CHECKING:
    from buildsrht.checks import Finding
    from buildsrht.config import Config

# A machine that runs one of these is a build host.
OF_A_BUILD_HOST = {"worker", "janitor", "gateway"}
HOST_SECONDS = 120


@click.command()
@click.argument("parts", metavar="[PART]...", nargs=-1, type=click.Choice(SERVICES))
def check(parts: Sequence[str]) -> int:
    """Try all that the configuration names, and say of each thing whether it works.

    PART is what runs on this machine: web, worker, janitor, courier or gateway; all of them unless
    given. What is a problem keeps one of them from its work; a warning does not. The exit status is
    1 if there is a problem.
    """
    from buildsrht import config
    from buildsrht.checks import Verdict

    settings = config.load()
    problems = 0
    for finding in _findings(settings, parts or SERVICES):
        click.echo(str(finding))
        problems += finding.verdict == Verdict.BAD
    return 1 if problems else 0


def _findings(settings: "Config", parts: Sequence[str]) -> "Iterator[Finding]":
    from buildsrht.checks import service

    yield from service.check(settings, parts)
    if OF_A_BUILD_HOST & set(parts):
        yield from _host()


def _host() -> "Iterator[Finding]":
    """What the worker package finds, which we never import."""
    from buildsrht.checks import Finding, Verdict, bad

    command = [*PYTHON, "-m", "worker", "check"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=HOST_SECONDS)
    except subprocess.TimeoutExpired:
        yield bad("build host", f"was not looked at within {HOST_SECONDS} seconds")
        return
    for line in done.stdout.splitlines():
        verdict, what, said = json.loads(line)
        yield Finding(Verdict(verdict), what, said)
    if done.returncode:
        yield bad("build host", f"looking at it ended with status {done.returncode}")


COMMANDS = (check,)
