"""To sign in and out."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.browsing import current_user
from buildsrht.services import accounts, attempts
from buildsrht.serving import current_backend
from buildsrht.web import browser
from buildsrht.web.provider import provider_name

routes = Blueprint("signing_in", __name__)


@routes.get("/login")
def form() -> ResponseReturnValue:
    return_to = browser.local_path(request.args.get("return_to"))
    if current_user():
        browser.go(return_to)
    return _page(return_to)


@routes.post("/login")
def sign_in() -> ResponseReturnValue:
    return_to = browser.local_path(request.form.get("return_to"))
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    backend = current_backend()
    attempts.count(backend, accounts.BY_PLACE, attempts.place(request.remote_addr))
    attempts.count(backend, accounts.BY_NAME, name)
    user = accounts.find_by_password(backend, name, password)
    if user is None:
        return _page(return_to, name=name, refused=True), 401
    browser.begin(user)
    browser.go(return_to)


@routes.post("/logout")
def sign_out() -> ResponseReturnValue:
    browser.end()
    browser.go("/login")


def _page(return_to: str, name: str = "", refused: bool = False) -> str:
    config = current_backend().config
    return render_template(
        "login.html",
        return_to=return_to,
        name=name,
        refused=refused,
        provider=provider_name(),
        sends_mail=bool(config.mail.host),
        is_open=config.web.registration,
    )
