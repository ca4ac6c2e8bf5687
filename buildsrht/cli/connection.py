"""Which server a client's command speaks to, and as whom.

`BUILDSRHT_URL` names the server, `BUILDSRHT_TOKEN` is a token for it. Without a token it is the
login that `buildsrht login` left, and without an address the latest of these. A token that was
given is never sent to a server only because somebody logged in there once.
"""

import os
import re

import httpx

from buildsrht import device_flow
from buildsrht.client import TIMEOUT, Client
from buildsrht.errors import OperatorError
from buildsrht.logins import Login, Logins

DEFAULT_URL = "http://127.0.0.1:5002"


def connect(timeout: httpx.Timeout = TIMEOUT) -> Client:
    logins = Logins.of_this_user()
    token = os.environ.get("BUILDSRHT_TOKEN", "").strip()
    if token:
        _check_token(token)
        return Client(server_url(), token, timeout)
    url = server_url(logins)
    if logins.get(url) is None:
        raise OperatorError(
            f"BUILDSRHT_TOKEN: must hold a token for {url}; `buildsrht login {url}` does without, "
            "and `buildsrht token create` makes one"
        )
    return Client(url, lambda: _fresh_token(logins, url), timeout)


def server_url(logins: Logins | None = None) -> str:
    """The server that is named, or else the one of the latest of these logins."""
    if url := os.environ.get("BUILDSRHT_URL"):
        return checked_url("BUILDSRHT_URL", url)
    return (logins.latest() if logins else None) or DEFAULT_URL


def checked_url(place: str, url: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/?", url):
        raise OperatorError(f'{place}: expected http://host or https://host, got "{url}"')
    return url.rstrip("/")


def _check_token(token: str) -> None:
    if not re.fullmatch(r"[!-~]+", token):
        raise OperatorError(
            "BUILDSRHT_TOKEN: must hold a token; `buildsrht token create` makes one"
        )


def _fresh_token(logins: Logins, url: str) -> str:
    def renew(login: Login) -> Login:
        try:
            with Client(url, None) as client:
                return device_flow.renew(client, login)
        except device_flow.Declined as declined:
            raise OperatorError(
                f"the login to {url} is over ({declined}); `buildsrht login {url}` begins another"
            ) from declined

    return logins.fresh(url, renew).access_token
