"""How a program without a browser gets a token: RFC 8628, and what RFC 6749 and 7009 add.

The user is shown an address and a code, goes there with any browser, and agrees; meanwhile we ask
now and then whether that has happened.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from buildsrht.client import Client, Refused, ServerAway
from buildsrht.logins import Login

CLIENT_ID = "buildsrht-cli"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

# What RFC 8628 has us wait between two questions, and add whenever that was too soon.
USUAL_SECONDS = 5
SLOWER_SECONDS = 5
LONGEST_SECONDS = 60
# Longer than any server lets people think.
LIFETIME_SECONDS = 86400


# For people, where a server leaves it at the word.
MEANINGS = {
    "access_denied": "you did not agree",
    "expired_token": "nobody agreed in time",
    "slow_down": "too many asked from here just now; try again in some minutes",
}


class Invitation(NamedTuple):
    """What the user needs to know, and what we need to ask."""

    device_code: str
    user_code: str
    address: str
    complete_address: str | None
    interval: float
    lifetime: float


class Declined(Refused):
    """The server gives no token; `code` is one of the words of the RFCs."""

    def __init__(self, code: str, description: str | None = None):
        super().__init__(description or MEANINGS.get(code, code))
        self.code = code


def begin(client: Client, scopes: Sequence[str]) -> Invitation:
    answer = _ask(client, "/oauth2/device-authorization", scope=" ".join(scopes))
    with _understanding(client):
        return Invitation(
            device_code=answer["device_code"],
            user_code=answer["user_code"],
            address=answer["verification_uri"],
            complete_address=answer.get("verification_uri_complete"),
            interval=_seconds(answer.get("interval", USUAL_SECONDS)),
            lifetime=_seconds(answer["expires_in"]),
        )


def _seconds(said: float) -> float:
    if not 0 <= said <= LIFETIME_SECONDS:
        raise ValueError("nobody waits so long")
    return said


def wait(client: Client, invitation: Invitation) -> Login:
    """Wait until the user has agreed. Raises Declined if they do not, or let the time pass."""
    deadline = time.monotonic() + invitation.lifetime
    interval = invitation.interval
    while time.monotonic() < deadline:
        time.sleep(interval)
        try:
            return _token(client, DEVICE_CODE, device_code=invitation.device_code)
        except ServerAway:
            interval = min(2 * interval, LONGEST_SECONDS)
        except Declined as declined:
            if declined.code == "slow_down":
                interval += SLOWER_SECONDS
            elif declined.code != "authorization_pending":
                raise
    raise Declined("expired_token")


def renew(client: Client, login: Login) -> Login:
    """The next login, which takes the place of this one: its refresh token is good once."""
    return _token(client, "refresh_token", refresh_token=login.refresh_token or "")


def revoke(client: Client, login: Login) -> None:
    _ask(client, "/oauth2/revoke", token=login.refresh_token or login.access_token)


def _token(client: Client, grant_type: str, **fields: str) -> Login:
    answer = _ask(client, "/oauth2/access-token", grant_type=grant_type, **fields)
    with _understanding(client):
        return Login.from_answer(answer)


def _ask(client: Client, path: str, **fields: str) -> dict[str, Any]:
    answer = client.post_form(path, {"client_id": CLIENT_ID, **fields})
    if "error" in answer:
        raise Declined(answer["error"], answer.get("error_description"))
    return answer


@contextmanager
def _understanding(client: Client) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{client.url}: answered, but not as an OAuth server does") from error
