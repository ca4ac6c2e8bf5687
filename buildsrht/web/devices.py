"""Where somebody types the short code that a program shows, and decides (RFC 8628)."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import NotFound
from buildsrht.models import User
from buildsrht.services import attempts, devices
from buildsrht.services.clients import program_of
from buildsrht.serving import current_backend
from buildsrht.web import browser
from buildsrht.web.words import in_words

routes = Blueprint("devices", __name__)


@routes.get("/oauth2/device")
def ask() -> ResponseReturnValue:
    user = browser.insist_on_user()
    typed = request.args.get("user_code", "")
    if not typed:
        return _form()
    _count_guess(user)
    backend = current_backend()
    try:
        with backend.transaction() as session:
            device = devices.find_waiting(session, typed)
    except NotFound as error:
        return _form(typed, said=str(error)), 404
    return render_template(
        "device_consent.html",
        user_code=devices.shown(device.user_code),
        program=program_of(device.client),
        scopes=in_words(device.scopes),
    )


@routes.post("/oauth2/device")
def decide() -> ResponseReturnValue:
    user = browser.insist_on_user()
    typed = request.form.get("user_code", "")
    is_allowed = request.form.get("decision") == "allow"
    _count_guess(user)
    try:
        if is_allowed:
            devices.approve(current_backend(), user, typed)
        else:
            devices.deny(current_backend(), typed)
    except NotFound as error:
        return _form(typed, said=str(error)), 404
    return render_template("device_done.html", is_allowed=is_allowed)


def _count_guess(user: User) -> None:
    attempts.count(current_backend(), devices.GUESSES, str(user.id))


def _form(user_code: str = "", said: str | None = None) -> str:
    return render_template("device.html", user_code=user_code, said=said)
