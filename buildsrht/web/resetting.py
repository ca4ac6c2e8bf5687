"""A new password for whoever has forgotten theirs, by mail. Without a mail server there are no such
pages."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import User
from buildsrht.services import accounts, attempts, password_resets
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms

routes = Blueprint("resetting", __name__)


@routes.get("/forgot")
def form() -> ResponseReturnValue:
    _insist_on_mail()
    return render_template("forgot.html", is_asked="asked" in request.args)


@routes.post("/forgot")
def ask() -> ResponseReturnValue:
    """Whoever is named, the answer is the same."""
    _insist_on_mail()
    backend, who = current_backend(), forms.word("who").removeprefix("~")
    attempts.count(backend, password_resets.BY_PLACE, attempts.place(request.remote_addr))
    password_resets.ask(backend, who)
    browser.go("/forgot?asked=yes")


@routes.get("/reset/<text>")
def new_password(text: str) -> ResponseReturnValue:
    person = _find(text)
    return _page(person), 200 if person else 404


@routes.post("/reset/<text>")
def reset(text: str) -> ResponseReturnValue:
    person = _find(text)
    if person is None:
        return _page(None), 404
    new = forms.text("new")
    try:
        if new != forms.text("again"):
            raise BadInput([FieldError("again", "is not the same")])
        user = accounts.reset_password(current_backend(), text, new)
    except BadInput as bad:
        return _page(person, bad.errors), 400
    browser.begin(user)
    browser.go("/account")


def _insist_on_mail() -> None:
    if not current_backend().config.mail.host:
        raise NotFound("there is no such page")


def _find(text: str) -> User | None:
    with current_backend().transaction() as session:
        return password_resets.find_user(session, text)


def _page(person: User | None, problems: tuple[FieldError, ...] = ()) -> str:
    return render_template("reset.html", person=person, problems=problems)
