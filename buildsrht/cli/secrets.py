"""The commands about what users keep for their builds.

What is kept comes on standard input alone: arguments are there for every user of the machine to
read.
"""

import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from buildsrht.cli.opened import opened_backend

if TYPE_CHECKING:
    from buildsrht.models import Secret

KINDS = ("ssh-key", "pgp-key", "file")


@click.group()
def secret() -> None:
    """Keep keys and files that users' builds are given."""


@secret.command("create")
@click.option("--user", metavar="NAME", required=True, help="Whose it is; made if need be.")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="A key is a private one.")
@click.option("--name", help="What manifests may call it; its UUID does as well.")
@click.option("--path", help="Of a file: where builds find it, such as ~/.netrc.")
@click.option("--mode", help="Of a file: its octal mode; 600 unless given.")
def create(user: str, kind: str, name: str | None, path: str | None, mode: str | None) -> None:
    """Keep what comes on standard input, and print its UUID."""
    from buildsrht.materials import MOST_PGP_BYTES
    from buildsrht.models import SecretKind
    from buildsrht.services import secrets

    # One more than is accepted, whatever is at the other end.
    material = sys.stdin.buffer.read(MOST_PGP_BYTES + 1)
    new = secrets.NewSecret(SecretKind(kind.replace("-", "_")), material, name, path, mode)
    with opened_backend() as backend:
        click.echo(secrets.create_secret(backend, user, new).uuid)


@secret.command("list")
@click.option("--user", metavar="NAME", required=True, help="Whose.")
def list_(user: str) -> None:
    """Print each secret: UUID, kind, name, path and mode, who shared it. Never what is in it."""
    from buildsrht.services import secrets

    with opened_backend() as backend, backend.transaction() as session:
        for kept in secrets.list_secrets(session, user):
            click.echo("\t".join(_columns(kept)))


def _columns(kept: "Secret") -> tuple[str, ...]:
    return (
        str(kept.uuid),
        kept.kind.replace("_", "-"),
        kept.name or "",
        f"{kept.path} {kept.mode:o}" if kept.mode is not None else "",
        kept.from_user.canonical_name if kept.from_user else "",
    )


@secret.command("share")
@click.option("--user", metavar="OWNER", required=True, help="Whose it is.")
@click.option("--with", "receiver", metavar="NAME", required=True, help="Who gets a copy.")
@click.argument("uuid", type=click.UUID)
def share(user: str, receiver: str, uuid: UUID) -> None:
    """Give another user a copy of the secret UUID, to keep and to use; it comes without a name."""
    from buildsrht.services import secrets

    with opened_backend() as backend:
        secrets.share_secret(backend, user, uuid, receiver)


@secret.command("delete")
@click.option("--user", metavar="OWNER", required=True, help="Whose it is.")
@click.argument("uuid", type=click.UUID)
def delete(user: str, uuid: UUID) -> None:
    """Forget the secret UUID; copies that others have stay."""
    from buildsrht.services import secrets

    with opened_backend() as backend:
        secrets.delete_secret(backend, user, uuid)


COMMANDS = (secret,)
