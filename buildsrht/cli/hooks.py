"""The commands about hooks, which forges report pushes to."""

from typing import TextIO
from uuid import UUID

import click

from buildsrht.cli.opened import opened_backend

FORGES = ("github", "gitlab", "gitea", "sourcehut")
user_option = click.option("--user", metavar="NAME", required=True, help="Whose it is.")


@click.group()
def hook() -> None:
    """Make hooks, which forges report pushes to, and see what came of it."""


@hook.command("create")
@click.option("--user", metavar="NAME", required=True, help="Whose jobs; made if need be.")
@click.option("--forge", type=click.Choice(FORGES), required=True, help="Forgejo is gitea.")
@click.option("--repository", metavar="URL", required=True, help="https://host/owner/name.")
@click.option(
    "--visibility",
    type=click.Choice(["public", "unlisted", "private"]),
    default="unlisted",
    help="Of the jobs: for everybody, whoever has the link, or the user.",
)
@click.option("--pull-requests", is_flag=True, help="Build those as well, without secrets.")
@click.option(
    "--credential-file",
    type=click.File(),
    help="A file with user:token, for a private repository; - is standard input.",
)
@click.option("--public-key", help="What sourcehut signs with (Ed25519, base64).")
def hook_create(
    user: str,
    forge: str,
    repository: str,
    visibility: str,
    pull_requests: bool,
    credential_file: TextIO | None,
    public_key: str | None,
) -> None:
    """Make a hook and print its address and its secret, this once."""
    from buildsrht.models import Forge, Visibility
    from buildsrht.services import hooks

    wanted = hooks.NewHook(
        forge=Forge(forge),
        repository=repository,
        visibility=Visibility(visibility),
        pull_requests=pull_requests,
        credential=credential_file.read().strip() if credential_file else None,
        public_key=public_key,
    )
    with opened_backend() as backend:
        made, proof = hooks.create_hook(backend, user, wanted)
        click.echo(f"url {hooks.hook_url(backend, made)}")
        if not public_key:
            click.echo(f"secret {proof}")


@hook.command("list")
@user_option
def hook_list(user: str) -> None:
    """List a user's hooks: id, forge, repository, visibility of the jobs, and what else it does."""
    from buildsrht.services import hooks

    with opened_backend() as backend, backend.transaction() as session:
        for each in hooks.list_hooks(session, user):
            more = [
                *(["pull-requests"] if each.pull_requests else []),
                *(["credential"] if each.credential else []),
            ]
            click.echo(
                " ".join([str(each.uuid), each.forge, each.repository, each.visibility, *more])
            )


@hook.command("delete")
@user_option
@click.argument("uuid", metavar="ID", type=click.UUID)
def hook_delete(user: str, uuid: UUID) -> None:
    """Forget a hook and what was reported to it; its jobs stay."""
    from buildsrht.services import hooks

    with opened_backend() as backend:
        hooks.delete_hook(backend, user, uuid)


@hook.command("pushes")
@user_option
@click.argument("uuid", metavar="[ID]", type=click.UUID, required=False)
def hook_pushes(user: str, uuid: UUID | None) -> None:
    """List what was reported last, to all hooks or the one with this ID.

    Number, time, what came of it, jobs, refs; and why, on the next line.
    """
    from buildsrht.hooks.event import Event
    from buildsrht.services import hooks

    with opened_backend() as backend, backend.transaction() as session:
        for push in hooks.list_pushes(session, user, uuid):
            jobs = ",".join(map(str, push.job_ids)) or "-"
            refs = [
                f"{update.ref}@{update.object[:12]}"
                for update in Event.from_json(push.event).updates
            ]
            when = push.created.isoformat(timespec="seconds")
            click.echo(" ".join([str(push.id), when, push.status, jobs, *refs]))
            if push.reason:
                click.echo(f"    {push.reason}")


COMMANDS = (hook,)
