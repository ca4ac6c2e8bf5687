"""A client of Authlib's own against a server that listens: both flows, as programs in the world go
through them."""

import httpx
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session

from buildsrht import serving
from buildsrht.oauth.programs import DEVICE_CODE
from tests.buildsrht.oauth.asking import REDIRECT_URI, VERIFIER
from tests.live_server import live_server

RUNNER = "host-1"


@pytest.fixture
def live(backend, app):
    """The addresses of a server that listens. What the browser does is done to the application."""
    with live_server(backend, RUNNER) as served:
        serving.install(app, served)
        yield served.config.web.origin


@pytest.fixture
def metadata(live):
    return httpx.get(f"{live}/.well-known/oauth-authorization-server").json()


def test_a_program_with_a_browser_goes_all_the_way(live, metadata, register, ask):
    program, secret = register(confidential=True)
    session = OAuth2Session(
        str(program.uuid),
        secret,
        scope="jobs:read",
        redirect_uri=REDIRECT_URI,
        code_challenge_method="S256",
    )
    asked, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=VERIFIER
    )
    fields = dict(httpx.URL(asked).params)

    came_to = ask(program, **fields).send("", press="decision=allow").headers["Location"]
    token = session.fetch_token(
        metadata["token_endpoint"],
        authorization_response=came_to.replace(metadata["issuer"], live),
        state=state,
        code_verifier=VERIFIER,
    )

    assert session.get(f"{live}/api/jobs").json()["total"] == 0
    new = session.refresh_token(metadata["token_endpoint"])
    assert new["access_token"] != token["access_token"]
    assert session.get(f"{live}/api/jobs").status_code == 200
    known = session.introspect_token(metadata["introspection_endpoint"], new["access_token"])
    assert known.json()["active"] is True
    session.revoke_token(metadata["revocation_endpoint"], new["refresh_token"])
    assert session.get(f"{live}/api/jobs").status_code == 401


def test_a_program_without_one_too(live, metadata, browse, owner):
    session = OAuth2Session("buildsrht-cli", token_endpoint_auth_method="none")
    form = {"client_id": "buildsrht-cli", "scope": "jobs:read"}
    begun = requests.post(metadata["device_authorization_endpoint"], data=form, timeout=10).json()
    assert begun["verification_uri"] == f"{live}/oauth2/device"
    browser = browse(owner)
    browser.open(begun["verification_uri_complete"].removeprefix(live))
    browser.send("/oauth2/device", press="decision=allow")

    session.fetch_token(
        metadata["token_endpoint"], grant_type=DEVICE_CODE, device_code=begun["device_code"]
    )

    assert session.get(f"{live}/api/jobs").status_code == 200
