"""Where a program has sent somebody to ask for leave (RFC 6749, section 4.1.1)."""

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.browsing import current_user
from buildsrht.oauth.routes import current_server
from buildsrht.oauth.server import AUTHORIZE
from buildsrht.web import browser
from buildsrht.web.words import in_words

routes = Blueprint("consent", __name__)


@routes.route(AUTHORIZE, methods=["GET", "POST"])
def authorize() -> ResponseReturnValue:
    """Both read the same address, which has all that is asked for; the form has the decision."""
    server = current_server()
    try:
        grant = server.consent_grant(current_user())
    except OAuth2Error as error:
        if error.redirect_uri:
            # Or else a link to us would lead anybody to any address that somebody has registered.
            browser.insist_on_user()
            return server.refusal(error)
        said = error.description or "this is no request that a program may make"
        return render_template("error.html", said=said), 400
    user = browser.insist_on_user()
    if request.method == "POST":
        return server.decision(grant, user if request.form.get("decision") == "allow" else None)
    browser.allow_answer_at(grant.redirect_uri)
    return render_template(
        "consent.html",
        program=grant.client.program,
        scopes=in_words(grant.request.scope.split()),
        answered_at=grant.redirect_uri,
    )
