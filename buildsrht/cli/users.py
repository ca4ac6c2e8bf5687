"""The commands about accounts."""

import sys

import click

from buildsrht.cli.opened import opened_backend


@click.group()
def user() -> None:
    """Make and list accounts, set their passwords, and suspend them."""


@user.command("create")
@click.argument("name")
@click.option("--email", metavar="ADDRESS", help="Where mail reaches them.")
@click.option("--admin", is_flag=True, help="They may do with all jobs what owners may.")
def create(name: str, email: str | None, admin: bool) -> None:
    """Make an account called NAME. Nobody signs in to it before it has a password."""
    from buildsrht.services import accounts

    with opened_backend() as backend:
        accounts.create_user(backend, name, email, admin=admin)


@user.command("password")
@click.argument("name")
def password(name: str) -> None:
    """Set the password of NAME, which is asked for, or read as a line of standard input.

    Whoever is signed in with the one before is signed out.
    """
    from buildsrht.services import accounts

    if sys.stdin.isatty():
        text = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = _line()
    with opened_backend() as backend:
        accounts.set_password(backend, name, text)


def _line() -> str:
    from buildsrht.errors import BadInput, FieldError

    try:
        line = sys.stdin.readline().removesuffix("\n")
        line.encode()
    except UnicodeError as error:
        raise BadInput([FieldError("password", "is not text")]) from error
    return line


@user.command("suspend")
@click.argument("name")
def suspend(name: str) -> None:
    """Keep NAME from doing anything, and sign them out.

    Jobs that they have submitted go on.
    """
    from buildsrht.services import administration

    with opened_backend() as backend:
        administration.suspend(backend, None, name)


@user.command("restore")
@click.argument("name")
def restore(name: str) -> None:
    """Let NAME do again what they could before they were suspended."""
    from buildsrht.services import administration

    with opened_backend() as backend:
        administration.restore(backend, None, name)


@user.command("list")
def list_() -> None:
    """Print each account: name, email address, admin or not, how it is opened.

    Of one that is suspended it says that in place of whether it has a password.
    """
    from buildsrht.services import accounts

    with opened_backend() as backend, backend.transaction() as session:
        for account in accounts.list_users(session):
            role = "admin" if account.admin else "user"
            opened_by = "password" if account.password else "no password"
            if account.suspended:
                opened_by = "suspended"
            click.echo(f"{account.name}\t{account.email or ''}\t{role}\t{opened_by}")


COMMANDS = (user,)
