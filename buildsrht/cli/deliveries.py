"""The commands about deliveries: what triggers sent, and what came back."""

from typing import TYPE_CHECKING, Any

import click

from buildsrht.cli.opened import opened_backend

if TYPE_CHECKING:
    from buildsrht.models import Delivery

delivery_id_argument = click.argument("delivery_id", metavar="ID", type=click.IntRange(min=1))


@click.group()
def delivery() -> None:
    """Look at emails and webhooks that were sent, and send one again."""


@delivery.command("list")
@click.option("--user", metavar="NAME", required=True, help="Whose.")
@click.option("--job", "job_id", metavar="ID", type=click.IntRange(min=1), help="Of this job only.")
def list_(user: str, job_id: int | None) -> None:
    """Print the latest 50, newest first: id, job or group, status, attempts, receiver, error."""
    from buildsrht.services import triggers, users

    with opened_backend() as backend, backend.transaction() as session:
        owner = users.require_user(session, user)
        for row in triggers.list_deliveries(session, owner, job_id):
            receiver = triggers.receiver_of(row)
            cells = (row.id, _subject(row), row.status, row.attempts, receiver, row.error)
            click.echo("\t".join(_printable(str(cell or "")) for cell in cells))


@delivery.command("show")
@delivery_id_argument
def show(delivery_id: int) -> None:
    """Print a delivery with its last attempt: what was sent, and what came back."""
    from buildsrht.services import triggers

    with opened_backend() as backend, backend.transaction() as session:
        owner = triggers.owner_of(session, delivery_id)
        row = triggers.require_delivery(session, delivery_id, owner)
        click.echo(_describe(row))


@delivery.command("replay")
@delivery_id_argument
def replay(delivery_id: int) -> None:
    """Deliver once more, as a new delivery; prints its id."""
    from buildsrht.services import triggers

    with opened_backend() as backend:
        with backend.transaction() as session:
            owner = triggers.owner_of(session, delivery_id)
        click.echo(triggers.replay(backend, delivery_id, owner))


def _subject(row: "Delivery") -> str:
    return f"job {row.job_id}" if row.job_id else f"group {row.group_id}"


def _describe(row: "Delivery") -> str:
    from buildsrht.services.triggers import receiver_of

    facts = {
        "delivery": f"{row.id} ({row.uuid})",
        "of": _subject(row),
        "to": f"{row.trigger['action']} {receiver_of(row)}",
        "replay of": row.replay_of,
        "status": row.status,
        "attempts": row.attempts,
        "next attempt": f"{row.due:%Y-%m-%d %H:%M:%S %Z}" if row.status == "waiting" else None,
        "error": row.error,
        "answer": row.response_status,
    }
    parts = [
        [f"{name}: {value}" for name, value in facts.items() if value is not None],
        _message("sent:", row.request_headers, row.request_body),
        _message("came back:", row.response_headers, row.response_body),
    ]
    return "\n\n".join("\n".join(map(_printable, part)) for part in parts if part)


def _message(title: str, headers: dict[str, Any] | None, body: str | None) -> list[str]:
    if not headers:
        return []
    fields = [f"  {name}: {value}" for name, value in headers.items()]
    return [title, *fields, *(f"  {line}" for line in (body or "").splitlines())]


def _printable(line: str) -> str:
    """A line that a terminal does nothing of but show it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


COMMANDS = (delivery,)
