"""What is known of the person who is signed in, and how they get in."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from buildsrht.api.context import current_backend
from buildsrht.services import identities
from buildsrht.web import browser
from buildsrht.web.provider import provider_name

routes = Blueprint("account", __name__)


@routes.get("/account")
def show() -> ResponseReturnValue:
    user = browser.insist_on_user()
    with current_backend().transaction() as session:
        known_as = identities.list_identities(session, user)
    return render_template("account.html", known_as=known_as, provider=provider_name())


@routes.post("/account/identities/<int:identity_id>/remove")
def disconnect(identity_id: int) -> ResponseReturnValue:
    identities.unbind(current_backend(), browser.insist_on_user(), identity_id)
    browser.go("/account")
