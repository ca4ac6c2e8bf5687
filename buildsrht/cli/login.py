"""The commands by which this machine becomes one of a user's, and stops being it."""

import os
from contextlib import suppress

import click

from buildsrht import device_flow
from buildsrht.cli.connection import checked_url, connect, server_url
from buildsrht.cli.options import json_option, print_json, say
from buildsrht.client import Client
from buildsrht.errors import BuildsError, OperatorError
from buildsrht.logins import Logins

# What all commands of a client together need.
SCOPES = "profile:write jobs:write logs:read secrets:write"
ME = "query { me { canonicalName email } }"

url_argument = click.argument("url", metavar="[URL]", required=False)


@click.command()
@url_argument
@click.option("--scopes", default=SCOPES, help=f'What it allows: "{SCOPES}" unless given.')
def login(url: str | None, scopes: str) -> None:
    """Let this machine use the server at URL as you.

    Prints an address and a code. Open the address with any browser, on any machine, enter the code,
    and agree. The tokens are kept in ~/.config/buildsrht/credentials.json, or below
    $XDG_CONFIG_HOME, and renewed as needed. Of several servers, commands use the one that was
    logged in to last, unless BUILDSRHT_URL names another.
    """
    logins = Logins.of_this_user()
    url = _server(url, logins)
    with Client(url, None) as client:
        invitation = device_flow.begin(client, scopes.split())
        say(f"Open {invitation.address} and enter the code {invitation.user_code}")
        if invitation.complete_address:
            say(f"or open {invitation.complete_address}")
        new, old = device_flow.wait(client, invitation), logins.get(url)
        logins.keep(url, new)
        if old:
            with suppress(BuildsError):  # it ends by itself, too
                device_flow.revoke(client, old)
    say(f"This machine may use {url} now, until `buildsrht logout`.")
    if os.environ.get("BUILDSRHT_TOKEN"):
        say("BUILDSRHT_TOKEN is set, though, and wins.")


@click.command()
@url_argument
def logout(url: str | None) -> None:
    """Give back the tokens of `login`."""
    logins = Logins.of_this_user()
    url = _server(url, logins)
    left = logins.get(url)
    if not left:
        raise OperatorError(f"not logged in to {url}")
    logins.forget(url)
    try:
        with Client(url, None) as client:
            device_flow.revoke(client, left)
    except BuildsError as error:
        raise BuildsError(
            f"the tokens are forgotten here, but may still be good there: {error}"
        ) from error


def _server(url: str | None, logins: Logins) -> str:
    return checked_url("URL", url) if url else server_url(logins)


@click.command()
@json_option
def whoami(as_json: bool) -> None:
    """Print who you are to the server, and its address."""
    with connect() as client:
        me = client.graphql(ME)["me"]
        if as_json:
            print_json({**me, "url": client.url})
        else:
            click.echo(f"{me['canonicalName']} at {client.url}")


COMMANDS = (login, logout, whoami)
