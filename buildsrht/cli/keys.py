"""The commands about the keys of this service."""

import click

from buildsrht.cli.opened import opened_backend


@click.group()
def keys() -> None:
    """Make and show the keys that encrypt secrets and sign webhooks."""


@keys.command("init")
def init() -> None:
    """Make every key that is missing; those that are there stay."""
    from buildsrht import config
    from buildsrht.keys import make_missing

    settings = config.load()
    for path in make_missing(settings.keys.path):
        click.echo(f"made {path}", err=True)


@keys.command("show")
def show() -> None:
    """Print the public key that webhooks are verified with (Ed25519, base64)."""
    from buildsrht import config
    from buildsrht.keys import Keys

    click.echo(Keys(config.load().keys.path).public_key)


@keys.command("rotate")
@click.option("--add", "part", flag_value="add", help="Only make the new key.")
@click.option("--finish", "part", flag_value="finish", help="Only do the rest, once it was added.")
def rotate(part: str | None) -> None:
    """Turn over the key that encrypts: a new one, everything sealed anew, the old one forgotten.

    What was interrupted goes on when this is run again. A service on several machines has the two
    halves run apart, and the keys copied to all machines in between.
    """
    from buildsrht.services import sealing

    with opened_backend() as backend:
        if part != "finish":
            began = sealing.begin_rotation(backend)
            said = "made a new key" if began else "going on with the new key that was made before"
            click.echo(said, err=True)
        if part != "add":
            done = sealing.finish_rotation(backend)
            click.echo(
                f"sealed {done.resealed} values anew, forgot {done.forgotten} old keys", err=True
            )


COMMANDS = (keys,)
