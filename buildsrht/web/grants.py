"""The programs that somebody lets act for them."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from buildsrht.services import grants
from buildsrht.services.clients import program_of
from buildsrht.serving import current_backend
from buildsrht.web import browser
from buildsrht.web.words import in_words

routes = Blueprint("grants", __name__)


@routes.get("/oauth2/grants")
def list_() -> ResponseReturnValue:
    user = browser.insist_on_user()
    with current_backend().transaction() as session:
        given = [
            (grant, program_of(grant.client), in_words(grant.scopes))
            for grant in grants.list_grants(session, user)
        ]
    return render_template("grants.html", given=given)


@routes.post("/oauth2/grants/<int:grant_id>/revoke")
def revoke(grant_id: int) -> ResponseReturnValue:
    grants.revoke_own_grant(current_backend(), browser.insist_on_user(), grant_id)
    browser.go("/oauth2/grants")
