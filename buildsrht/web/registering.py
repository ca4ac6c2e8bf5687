"""To make oneself an account, where the operator lets people do that."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.browsing import current_user
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.services import accounts, attempts
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms

routes = Blueprint("registering", __name__)


@routes.get("/register")
def form() -> ResponseReturnValue:
    _insist_on_open()
    if current_user():
        browser.go(browser.HOME)
    return _page()


@routes.post("/register")
def register() -> ResponseReturnValue:
    """An account for whoever asks, who is signed in to it then."""
    _insist_on_open()
    backend = current_backend()
    attempts.count(backend, accounts.REGISTRATIONS, attempts.place(request.remote_addr))
    try:
        password = forms.text("password")
        if password != forms.text("again"):
            raise BadInput([FieldError("again", "is not the same")])
        user = accounts.register(backend, forms.word("name"), forms.word("email"), password)
    except BadInput as bad:
        return _page(bad.errors), 400
    browser.begin(user)
    browser.go(browser.HOME)


def _insist_on_open() -> None:
    if not current_backend().config.web.registration:
        raise NotFound("there is no such page")


def _page(problems: tuple[FieldError, ...] = ()) -> str:
    return render_template("register.html", problems=problems, filled=request.form)
