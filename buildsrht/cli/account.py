"""The commands about what a user has on a server besides jobs: secrets, tokens, keys, webhooks.

Their names are plural. The singular ones, as `secret`, are an operator's, and work on the server's
machine. What is secret comes from a file or on standard input: arguments are there for every user
of the machine to read.
"""

from io import BytesIO
from typing import Any, BinaryIO

import click

from buildsrht.cli.connection import connect
from buildsrht.cli.options import given, json_option, print_json, print_rows, read_bytes, read_text
from buildsrht.client import Refused

KINDS = {"ssh-key": "SSH_KEY", "pgp-key": "PGP_KEY", "file": "FILE"}
TYPES = {"SSHKey": "ssh-key", "PGPKey": "pgp-key", "SecretFile": "file"}
LARGEST_SECRET = 2**20
EVENTS = {"created": "JOB_CREATED", "updated": "JOB_UPDATED"}

SECRET = """
fragment facts on Secret {
  __typename id created uuid name fromUser { canonicalName } ... on SecretFile { path mode }
}"""
SECRETS = "query ($cursor: Cursor) { secrets(cursor: $cursor) { results { ...facts } cursor } }"
CREATE_SECRET = """
mutation ($secret: SecretInput!) { secret: createSecret(secret: $secret) { ...facts } }"""
SHARE_SECRET = """
mutation ($uuid: String!, $user: String!) {
  secret: shareSecret(uuid: $uuid, user: $user) { ...facts }
}"""
DELETE_SECRET = "mutation ($uuid: String!) { secret: deleteSecret(uuid: $uuid) { ...facts } }"

TOKENS = "query { personalAccessTokens { id issued expires comment grants } }"
REVOKE_TOKEN = "mutation ($id: Int!) { revoked: revokePersonalAccessToken(id: $id) { id } }"

KEYS = """
query ($cursor: Cursor) {
  me { sshKeys(cursor: $cursor) { results { id created lastUsed fingerprint comment key } cursor } }
}"""
ADD_KEY = """
mutation ($key: String!) {
  key: createSSHKey(key: $key) { id created lastUsed fingerprint comment key }
}"""
DELETE_KEY = "mutation ($id: Int!) { deleted: deleteSSHKey(id: $id) { id } }"

WEBHOOKS = """
query ($cursor: Cursor) {
  userWebhooks(cursor: $cursor) { results { id url events query } cursor }
}"""
CREATE_WEBHOOK = """
mutation ($config: UserWebhookInput!) {
  webhook: createUserWebhook(config: $config) { id url events query }
}"""
DELETE_WEBHOOK = "mutation ($id: Int!) { deleted: deleteUserWebhook(id: $id) { id } }"

id_argument = click.argument("id_", metavar="ID", type=click.IntRange(min=1))


# --- secrets ----------------------------------------------------------------------------------


@click.group()
def secrets() -> None:
    """Keep keys and files that your builds are given."""


@secrets.command("list")
@json_option
def list_secrets(as_json: bool) -> None:
    """Print each secret: UUID, kind, name, path and mode, who shared it. Never what is in it."""
    with connect() as client:
        for secret in client.listed(SECRETS + SECRET, "secrets"):
            print_json(secret) if as_json else print_rows([_secret_columns(secret)])


def _secret_columns(secret: dict[str, Any]) -> list[str | None]:
    return [
        secret["uuid"],
        TYPES[secret["__typename"]],
        secret["name"],
        f"{secret['path']} {secret['mode']:o}" if "path" in secret else None,
        secret["fromUser"] and secret["fromUser"]["canonicalName"],
    ]


@secrets.command("create")
@click.option("--kind", type=click.Choice(list(KINDS)), required=True, help="A key is private.")
@click.option("--name", help="What manifests may call it; its UUID does as well.")
@click.option("--path", help="Of a file: where builds find it, such as ~/.netrc.")
@click.option("--mode", help="Of a file: its octal mode; 600 unless given.")
@click.argument("file", metavar="[FILE]", type=click.File("rb"), default="-")
@json_option
def create_secret(
    kind: str, name: str | None, path: str | None, mode: str | None, file: BinaryIO, as_json: bool
) -> None:
    """Keep what is in FILE, or comes on standard input, and print its UUID."""
    # More than any server takes, whatever is at the other end.
    material = BytesIO(read_bytes(file, LARGEST_SECRET))
    secret = {"type": KINDS[kind], "name": name, "path": path, "mode": mode}
    variables = {"secret": {**given(secret), "upload": None}}
    with connect() as client:
        data = client.graphql(CREATE_SECRET + SECRET, variables, {"secret.upload": material})
    print_json(data["secret"]) if as_json else click.echo(data["secret"]["uuid"])


@secrets.command("share")
@click.argument("uuid", type=click.UUID)
@click.argument("user")
@json_option
def share_secret(uuid: object, user: str, as_json: bool) -> None:
    """Give USER a copy of the secret UUID, to keep and to use; it comes without a name."""
    with connect() as client:
        data = client.graphql(SHARE_SECRET + SECRET, {"uuid": str(uuid), "user": user})
    if as_json:
        print_json(data["secret"])


@secrets.command("delete")
@click.argument("uuid", type=click.UUID)
def delete_secret(uuid: object) -> None:
    """Forget the secret UUID; copies that others have stay."""
    with connect() as client:
        client.graphql(DELETE_SECRET + SECRET, {"uuid": str(uuid)})


# --- tokens -----------------------------------------------------------------------------------


@click.group()
def tokens() -> None:
    """List and revoke your tokens."""


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """Print each token that is good: number, until when, what it allows, what it is for.

    Not those of `login` and of other OAuth clients, and not those of jobs.
    """
    with connect() as client:
        for token in client.graphql(TOKENS)["personalAccessTokens"]:
            if as_json:
                print_json(token)
            else:
                print_rows([(token[key] for key in ("id", "expires", "grants", "comment"))])


@tokens.command("revoke")
@id_argument
def revoke_token(id_: int) -> None:
    """Let nobody in any more by the token with this ID, as `list` prints it."""
    with connect() as client:
        if client.graphql(REVOKE_TOKEN, {"id": id_})["revoked"] is None:
            raise Refused(f"you have no token {id_}")


# --- ssh keys ---------------------------------------------------------------------------------


@click.group("ssh-keys")
def ssh_keys() -> None:
    """Say which keys let you into machines of your jobs that failed."""


@ssh_keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """Print each public key: number, fingerprint, when it was last used, comment."""
    with connect() as client:
        for key in client.listed(KEYS, "me", "sshKeys"):
            print_json(key) if as_json else print_rows([_key_columns(key)])


def _key_columns(key: dict[str, Any]) -> list[object]:
    return [key["id"], key["fingerprint"], key["lastUsed"] or "never", key["comment"]]


@ssh_keys.command("add")
@click.argument("file", metavar="[FILE]", type=click.File("rb"), default="-")
@json_option
def add_key(file: BinaryIO, as_json: bool) -> None:
    """Register the public key in FILE, or on standard input, and print its fingerprint."""
    line = read_text(file)
    with connect() as client:
        key = client.graphql(ADD_KEY, {"key": line})["key"]
    print_json(key) if as_json else click.echo(key["fingerprint"])


@ssh_keys.command("delete")
@id_argument
def delete_key(id_: int) -> None:
    """Let nobody in any more by the key with this ID, as `list` prints it."""
    with connect() as client:
        if client.graphql(DELETE_KEY, {"id": id_})["deleted"] is None:
            raise Refused(f"you have no key {id_}")


# --- webhooks ---------------------------------------------------------------------------------


@click.group()
def webhooks() -> None:
    """Have results of queries posted when jobs change."""


@webhooks.command("list")
@json_option
def list_webhooks(as_json: bool) -> None:
    """Print each webhook: number, address, events."""
    with connect() as client:
        for webhook in client.listed(WEBHOOKS, "userWebhooks"):
            print_json(webhook) if as_json else print_rows([_webhook_columns(webhook)])


def _webhook_columns(webhook: dict[str, Any]) -> list[object]:
    return [webhook["id"], webhook["url"], ",".join(webhook["events"])]


@webhooks.command("create")
@click.option(
    "--event",
    "events",
    type=click.Choice(list(EVENTS)),
    multiple=True,
    help="When a job was created, or anything about it changed; both unless given.",
)
@click.argument("url")
@click.argument("file", metavar="[FILE]", type=click.File("rb"), default="-")
@json_option
def create_webhook(events: tuple[str, ...], url: str, file: BinaryIO, as_json: bool) -> None:
    """Post to URL what the query in FILE, or on standard input, finds, and print its number."""
    config = {
        "url": url,
        "events": [EVENTS[event] for event in dict.fromkeys(events or EVENTS)],
        "query": read_text(file),
    }
    with connect() as client:
        webhook = client.graphql(CREATE_WEBHOOK, {"config": config})["webhook"]
    print_json(webhook) if as_json else click.echo(webhook["id"])


@webhooks.command("delete")
@id_argument
def delete_webhook(id_: int) -> None:
    """Forget the webhook with this ID, as `list` prints it, and what waits to be delivered."""
    with connect() as client:
        client.graphql(DELETE_WEBHOOK, {"id": id_})


COMMANDS = (secrets, tokens, ssh_keys, webhooks)
