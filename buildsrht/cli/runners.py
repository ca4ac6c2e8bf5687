"""The commands about build hosts."""

import json
import time
from typing import TYPE_CHECKING

import click

from buildsrht.cli.opened import opened_backend

if TYPE_CHECKING:
    from buildsrht.backend import Backend

LOOK_SECONDS = 1


@click.group()
def runner() -> None:
    """List build hosts, and say which may take jobs."""


@runner.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(as_json: bool) -> None:
    """Print each build host: name, what it may do, how it is and why, when it was heard of."""
    from buildsrht.health import hosts

    with opened_backend() as backend, backend.transaction() as session:
        found = hosts.judged(session)
    for host, health in found:
        codes = [reason.code for reason in health.reasons]
        seen = host.seen.isoformat(timespec="seconds")
        if as_json:
            told = {"name": host.name, "state": host.state, "health": health.verdict}
            click.echo(json.dumps({**told, "reasons": codes, "seen": seen, "facts": host.facts}))
        else:
            why = " ".join(codes) or "-"
            click.echo(f"{host.name}\t{host.state}\t{health.verdict}\t{why}\t{seen}")


@runner.command("enrol")
@click.argument("name")
@click.option("--draining", is_flag=True, help="It takes no job before it is resumed.")
def enrol(name: str, draining: bool) -> None:
    """Make the build host NAME known before it comes.

    One that is not enrolled enrols itself.
    """
    from buildsrht.services import enrolment

    with opened_backend() as backend:
        enrolment.enrol(backend, name, draining=draining)


@runner.command("drain")
@click.argument("name")
@click.option("--wait", type=click.IntRange(1), metavar="SECONDS", help="Until no job runs there.")
def drain(name: str, wait: int | None) -> int:
    """Have NAME take no more jobs; those that it has go on.

    With --wait the exit status is 1 if jobs still run there after SECONDS.
    """
    from buildsrht.services import enrolment

    with opened_backend() as backend:
        enrolment.drain(backend, None, name)
        return 0 if wait is None or _is_idle_within(backend, name, wait) else 1


def _is_idle_within(backend: "Backend", name: str, seconds: int) -> bool:
    from buildsrht.services import enrolment

    deadline = time.monotonic() + seconds
    while True:
        with backend.transaction() as session:
            running = enrolment.count_running(session, name)
        if not running:
            return True
        if time.monotonic() > deadline:
            click.echo(f"buildsrht: {running} jobs still run on {name}", err=True)
            return False
        time.sleep(LOOK_SECONDS)


@runner.command("resume")
@click.argument("name")
def resume(name: str) -> None:
    """Have NAME take jobs again."""
    from buildsrht.services import enrolment

    with opened_backend() as backend:
        enrolment.resume(backend, None, name)


@runner.command("retire")
@click.argument("name")
def retire(name: str) -> None:
    """Have NAME take no job any more, and not be missed when it is silent."""
    from buildsrht.services import enrolment

    with opened_backend() as backend:
        enrolment.retire(backend, None, name)


@runner.command("prune")
def prune() -> None:
    """Forget the build hosts that are retired, silent, and have nothing of anybody; print them."""
    from buildsrht.services import enrolment

    with opened_backend() as backend:
        for name in enrolment.prune(backend, None):
            click.echo(name)


COMMANDS = (runner,)
