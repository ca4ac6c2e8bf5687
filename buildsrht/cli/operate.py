"""The commands that operate a server. They read the configuration and work on this machine.

What they need is imported by each function: the database alone takes longer to import than a
command of a client takes to run.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

import click

from buildsrht.cli.opened import opened_backend

if TYPE_CHECKING:
    from buildsrht.config import Config

# -P: a directory named like one of our packages, where we happen to be started, is not ours.
PYTHON = (sys.executable, "-P")
SERVICES = ("web", "worker", "janitor", "courier", "gateway")
VARIABLES = ("BUILDSRHT_CONFIG", "VAR", "PORT")


# --- everything on one machine ----------------------------------------------------------------


@click.command()
def up() -> int:
    """Run everything on this machine until Ctrl-C; state is kept in VAR."""
    from buildsrht import config, database, keys
    from buildsrht.up import Service, run, stop_requests

    settings = config.load()
    services = [Service(name, [*PYTHON, "-m", "buildsrht", name]) for name in SERVICES]
    with stop_requests() as stop_requested, ExitStack() as servers:
        for server in _embedded_servers(settings):
            servers.enter_context(server)
        database.init(settings)
        database.migrate(settings)
        keys.make_missing(settings.keys.path)
        click.echo(_welcome(settings), err=True)
        return run(services, stop_requested)


def _embedded_servers(config: "Config") -> Iterator[AbstractContextManager[str]]:
    """The private servers that the configuration asks for; elsewhere somebody else runs them."""
    from buildsrht import embedded

    if config.database.url == embedded.postgres_url(config.embedded_postgres):
        yield embedded.postgres(config.embedded_postgres)
    if config.redis.url == embedded.redis_url(config.embedded_redis):
        yield embedded.redis(config.embedded_redis)


def _welcome(config: "Config") -> str:
    settings = [
        f"{name}={shlex.quote(os.environ[name])}" for name in VARIABLES if name in os.environ
    ]
    started_as_module = sys.argv[0].endswith("__main__.py")
    program = shlex.join([sys.executable, "-m", "buildsrht"] if started_as_module else sys.argv[:1])
    create = [*settings, program, 'token create --user "$(id -un)" --scopes "jobs:read jobs:write"']
    return f"""\
buildsrht serves on {config.web.origin} until Ctrl-C; its state is in {config.var}
To submit a job from another terminal, get a token:
  export BUILDSRHT_URL={config.web.origin}
  export BUILDSRHT_TOKEN=$({" ".join(create)})
  {program} submit --follow FILE"""


# --- its parts --------------------------------------------------------------------------------


@click.command()
def web() -> None:
    """Serve the API over HTTP."""
    from buildsrht import config, database, journal, storage, web_server

    settings = config.load()
    journal.begin(settings, "web")
    database.require_current(settings)
    storage.require_usable(settings.storage)
    web_server.serve(settings)


def _of_worker(name: str, purpose: str) -> click.Command:
    """A command that is the worker package's, with all its arguments: we never import that."""

    @click.command(
        name, help=purpose, add_help_option=False, context_settings={"ignore_unknown_options": True}
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        os.execv(sys.executable, [*PYTHON, "-m", "worker", name, *arguments])

    return command


worker = _of_worker("worker", "Take jobs from the queue and run them.")
janitor = _of_worker("janitor", "Clean up what a crash left behind, again and again.")
gateway = _of_worker("gateway", "Let users into kept machines by ssh.")
image = _of_worker("image", "Build and list the images that jobs start from.")


# --- database and tokens ----------------------------------------------------------------------


@click.group()
def db() -> None:
    """Make the database, and bring it up to date."""


@db.command("init")
def db_init() -> None:
    """Make all tables in an empty database."""
    from buildsrht import config, database

    settings = config.load()
    created = database.init(settings)
    database.require_current(settings)
    revision = database.newest_revision()
    said = "now has the schema," if created else "has the schema already,"
    click.echo(f"the database {said} at revision {revision}", err=True)


@db.command("migrate")
def db_migrate() -> None:
    """Bring the database of an older release to this one's revision."""
    from buildsrht import config, database

    migrated = database.migrate(config.load())
    said = "is now" if migrated else "is already"
    click.echo(f"the database {said} at revision {database.newest_revision()}", err=True)


@click.group()
def token() -> None:
    """Make, list and revoke the tokens that let clients in."""


@token.command("create")
@click.option("--user", metavar="NAME", required=True, help="Who it is for; made if need be.")
@click.option("--scopes", required=True, help='As "jobs:read jobs:write", or "JOBS:RW LOGS:RO".')
@click.option("--days", type=int, help="How long it is good; a year unless given.")
@click.option("--comment", help="What it is for.")
def token_create(user: str, scopes: str, days: int | None, comment: str | None) -> None:
    """Make a token and print it, this once."""
    from buildsrht.services import tokens

    lifetime = tokens.DEFAULT_DAYS if days is None else days
    with opened_backend() as backend:
        click.echo(tokens.create_token(backend, user, scopes.split(), lifetime, comment))


@token.command("list")
@click.option("--user", metavar="NAME", required=True, help="Whose they are.")
def token_list(user: str) -> None:
    """Print each good token that a user has made: number, scopes, until when, what for."""
    from buildsrht.services import tokens

    with opened_backend() as backend, backend.transaction() as session:
        for each in tokens.list_tokens_of(session, user):
            scopes, until = " ".join(each.scopes), f"{each.expires:%Y-%m-%d}"
            click.echo(f"{each.id}\t{scopes}\t{until}\t{each.comment or ''}")


@token.command("revoke")
@click.argument("text", metavar="[TOKEN]", required=False)
@click.option("--user", metavar="NAME", help="Whose token it is, with --id.")
@click.option("--id", "token_id", type=int, metavar="N", help="Its number, as `list` prints it.")
def token_revoke(text: str | None, user: str | None, token_id: int | None) -> None:
    """Revoke TOKEN, or the one on standard input, where no other user of the machine sees it.

    With --user and --id: one of which you have only the number.
    """
    from buildsrht.services import tokens

    if (user is None) != (token_id is None) or (user and text):
        raise click.UsageError("either TOKEN, or both --user and --id")
    with opened_backend() as backend:
        if user is not None and token_id is not None:
            tokens.revoke_token_of(backend, user, token_id)
        else:
            tokens.revoke_token(backend, text or sys.stdin.readline().strip())


COMMANDS = (up, web, worker, janitor, gateway, db, image, token)
