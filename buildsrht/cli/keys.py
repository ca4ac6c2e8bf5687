"""The commands about the keys of this service."""

import click


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


COMMANDS = (keys,)
