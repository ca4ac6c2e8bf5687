"""The commands about the public keys that let users into the ssh gateway."""

from typing import TextIO

import click

from buildsrht.cli.opened import opened_backend


@click.group("ssh-key")
def ssh_key() -> None:
    """Say whose public keys the ssh gateway lets in."""


@ssh_key.command("add")
@click.option("--user", metavar="NAME", required=True, help="Whose it is; made if need be.")
@click.argument("file", metavar="[FILE]", type=click.File(), default="-")
def add(user: str, file: TextIO) -> None:
    """Register the public key in FILE, or on standard input, and print its fingerprint."""
    from buildsrht.services import ssh_keys

    line = _read(file)
    with opened_backend() as backend:
        click.echo(ssh_keys.add_key(backend, user, line).fingerprint)


def _read(file: TextIO) -> str:
    from buildsrht.errors import BadInput, FieldError
    from buildsrht.services import ssh_keys

    try:
        # One more than is accepted, whatever is at the other end.
        return file.read(ssh_keys.LINE_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise BadInput([FieldError("key", f"is not text at byte {error.start}")]) from error


@ssh_key.command("list")
@click.option("--user", metavar="NAME", help="Only theirs.")
def list_(user: str | None) -> None:
    """Print each key: user, fingerprint, when it was last used, comment."""
    from buildsrht.services import ssh_keys

    with opened_backend() as backend, backend.transaction() as session:
        for key in ssh_keys.list_keys(session, user):
            used = f"{key.last_used:%Y-%m-%d}" if key.last_used else "never"
            click.echo(f"{key.user.name}\t{key.fingerprint}\t{used}\t{key.comment or ''}")


@ssh_key.command("remove")
@click.argument("fingerprint")
def remove(fingerprint: str) -> None:
    """Let nobody in any more by the key with this FINGERPRINT, as `list` prints it."""
    from buildsrht.services import ssh_keys

    with opened_backend() as backend:
        ssh_keys.remove_key(backend, fingerprint)


COMMANDS = (ssh_key,)
