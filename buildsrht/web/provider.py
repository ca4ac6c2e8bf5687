"""To sign in by an OpenID Connect provider, and to connect an account to one.

What goes out with a browser comes back with that browser, once, or is worth nothing.
"""

import hmac

from flask import Blueprint, Flask, abort, current_app, redirect, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.backend import Backend
from buildsrht.errors import Forbidden
from buildsrht.models import User
from buildsrht.oauth.provider import Person, Provider
from buildsrht.services import attempts, identities
from buildsrht.serving import current_backend
from buildsrht.web import browser

EXTENSION = "buildsrht.web.provider"
CALLBACK = "/login/provider/callback"

routes = Blueprint("provider", __name__)


def install(app: Flask, backend: Backend) -> None:
    settings = backend.config.oidc
    if settings.issuer:
        redirect_uri = f"{backend.config.web.origin}{CALLBACK}"
        app.extensions[EXTENSION] = Provider(settings, redirect_uri)


def provider_name() -> str | None:
    """What people know the provider as, if there is one."""
    return current_backend().config.oidc.name if EXTENSION in current_app.extensions else None


def _provider() -> Provider:
    provider: Provider | None = current_app.extensions.get(EXTENSION)
    if provider is None:
        abort(404, "people do not sign in here by a provider")
    return provider


@routes.get("/login/provider")
def sign_in() -> ResponseReturnValue:
    place = attempts.place(request.remote_addr)
    attempts.count(current_backend(), identities.REQUESTS, place)
    return redirect(_begin(browser.local_path(request.args.get("return_to"))), 303)


@routes.post("/account/connect")
def connect() -> ResponseReturnValue:
    """A page with a link, because a form of ours may not lead to another site."""
    browser.insist_on_user()
    address = _begin("/account", connects=True)
    return render_template("connect.html", address=address, provider=provider_name())


def _begin(return_to: str, *, connects: bool = False) -> str:
    asked = _provider().ask()
    known = {
        "nonce": asked.nonce,
        "verifier": asked.verifier,
        "browser": browser.form_word(),
        "return_to": return_to,
        "connects": connects,
    }
    identities.remember(current_backend(), asked.state, known)
    return asked.address


@routes.get(CALLBACK)
def callback() -> ResponseReturnValue:
    provider = _provider()
    known = identities.recall(current_backend(), request.args.get("state", ""))
    if known is None or not hmac.compare_digest(known["browser"], browser.form_word()):
        raise Forbidden("this sign-in was not begun in this browser, or too long ago: begin again")
    if request.args.get("iss", provider.issuer) != provider.issuer:
        raise Forbidden("another provider has answered")
    code = request.args.get("code")
    if not code:
        raise Forbidden("the provider has not let you in")
    person = provider.identify(code, known["nonce"], known["verifier"])
    if known["connects"]:
        # The same person as then: a browser has another word when somebody else is signed in.
        user = browser.insist_on_user()
        identities.bind(current_backend(), user, provider.issuer, person.subject)
    else:
        browser.begin(_user_of(provider.issuer, person))
    browser.go(known["return_to"])


def _user_of(issuer: str, person: Person) -> User:
    backend = current_backend()
    with backend.transaction() as session:
        user = identities.find_by_identity(session, issuer, person.subject)
    if user:
        return user
    if not backend.config.oidc.create_accounts:
        raise Forbidden("nobody here is connected to this account of the provider")
    return identities.create_user_for(backend, issuer, person.subject, person.name, person.email)
