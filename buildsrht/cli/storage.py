"""The command that takes finished bytes from a directory to where they are kept from now on."""

from pathlib import Path

import click

from buildsrht.cli.opened import opened_backend


@click.group()
def storage() -> None:
    """Move artifacts, logs and submitted trees to another storage."""


@storage.command("copy")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
def copy(directory: Path) -> None:
    """Copy what a DIRECTORY holds into the storage that the configuration names.

    Then all that the database names is read there and compared; what is missing or differs is
    printed, and the exit status is 1. What was interrupted goes on when this is run again.
    """
    from buildsrht.services import moving

    with opened_backend() as backend:
        backend.storage.check()
        copied = sum(1 for _ in moving.copy_missing(directory, backend.storage))
        click.echo(f"copied {copied} objects; comparing all of them with the database", err=True)
        good = bad = 0
        for key, problem in moving.verify(backend):
            good += problem is None
            if problem:
                bad += 1
                click.echo(f"{key} {problem}")
    click.echo(f"{good} are as the database says, {bad} are not", err=True)
    if bad:
        raise SystemExit(1)


COMMANDS = (storage,)
