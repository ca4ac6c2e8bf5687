"""What is known of the person who is signed in, and how they get in."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput, FieldError
from buildsrht.models import User
from buildsrht.services import accounts, attempts, identities
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms
from buildsrht.web.provider import provider_name

routes = Blueprint("account", __name__)


@routes.get("/account")
def show() -> ResponseReturnValue:
    return _page(browser.insist_on_user())


@routes.post("/account/password")
def change_password() -> ResponseReturnValue:
    """Whoever finds a browser signed in has not found the account: the old one is needed."""
    user = browser.insist_on_user()
    backend, form = current_backend(), request.form
    attempts.count(backend, accounts.BY_NAME, user.name)
    if accounts.find_by_password(backend, user.name, form.get("password", "")) is None:
        return _page(user, (FieldError("password", "is not the one that you have"),)), 403
    if form.get("new") != form.get("again"):
        return _page(user, (FieldError("again", "is not the same"),)), 400
    try:
        browser.begin(accounts.set_password(backend, user.name, form.get("new", "")))
    except BadInput as bad:
        return _page(user, tuple(FieldError("new", reason) for _, reason in bad.errors)), 400
    browser.go("/account")


@routes.post("/account/email")
def change_email() -> ResponseReturnValue:
    """Mail there lets whoever reads it in: the password is needed."""
    user = browser.insist_on_user()
    backend, email = current_backend(), forms.word("email")
    attempts.count(backend, accounts.BY_NAME, user.name)
    if accounts.find_by_password(backend, user.name, forms.text("current")) is None:
        wrong = FieldError("current", "is not the one that you have")
        return _page(user, about_email=(wrong,)), 403
    try:
        accounts.set_email(backend, user.name, email or None)
    except BadInput as bad:
        return _page(user, about_email=bad.errors), 400
    browser.go("/account")


@routes.post("/account/identities/<int:identity_id>/remove")
def disconnect(identity_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    identities.unbind(current_backend(), user, identity_id)
    browser.begin(user)
    browser.go("/account")


def _page(
    user: User,
    problems: tuple[FieldError, ...] = (),
    about_email: tuple[FieldError, ...] = (),
) -> str:
    with current_backend().transaction() as session:
        known_as = identities.list_identities(session, user)
    return render_template(
        "account.html",
        known_as=known_as,
        provider=provider_name(),
        problems=problems,
        about_email=about_email,
        email=request.form.get("email", user.email or ""),
    )
