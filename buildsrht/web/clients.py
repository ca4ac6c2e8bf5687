"""The programs that somebody has registered, for others to let them act."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput
from buildsrht.models import OAuthClient, User
from buildsrht.services import clients
from buildsrht.serving import current_backend
from buildsrht.web import browser

routes = Blueprint("clients", __name__)


@routes.get("/oauth2/clients")
def list_() -> ResponseReturnValue:
    return _page(browser.insist_on_user())


@routes.post("/oauth2/clients")
def register() -> ResponseReturnValue:
    user = browser.insist_on_user()
    form = request.form
    try:
        client, secret = clients.register_client(
            current_backend(),
            user,
            name=form.get("name", "").strip(),
            description=form.get("description", "").strip(),
            url=form.get("url", "").strip(),
            redirect_uris=form.get("redirect_uris", "").split(),
            confidential="confidential" in form,
        )
    except BadInput as bad:
        return _page(user, problems=bad.errors), 400
    return _page(user, new=client, secret=secret)


@routes.post("/oauth2/clients/<int:client_id>/secret")
def renew_secret(client_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    secret = clients.new_client_secret(current_backend(), user, client_id)
    return _page(user, secret=secret)


@routes.post("/oauth2/clients/<int:client_id>/delete")
def delete(client_id: int) -> ResponseReturnValue:
    clients.delete_client(current_backend(), browser.insist_on_user(), client_id)
    browser.go("/oauth2/clients")


def _page(
    user: User,
    new: OAuthClient | None = None,
    secret: str | None = None,
    problems: tuple[object, ...] = (),
) -> str:
    with current_backend().transaction() as session:
        own = clients.list_clients(session, user)
    filled = request.form if problems else {}
    return render_template(
        "clients.html", own=own, new=new, secret=secret, problems=problems, filled=filled
    )
