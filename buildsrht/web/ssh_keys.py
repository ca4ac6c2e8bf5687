"""The public keys by which somebody gets in by ssh."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput, FieldError
from buildsrht.models import User
from buildsrht.services import lists, ssh_keys
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms

routes = Blueprint("ssh_keys", __name__)


@routes.get("/ssh-keys")
def list_() -> ResponseReturnValue:
    return _page(browser.insist_on_user())


@routes.post("/ssh-keys")
def add() -> ResponseReturnValue:
    user = browser.insist_on_user()
    try:
        ssh_keys.add_key(current_backend(), user.name, forms.text("key"))
    except BadInput as bad:
        return _page(user, bad.errors), 400
    browser.go("/ssh-keys")


@routes.post("/ssh-keys/<int:key_id>/delete")
def delete(key_id: int) -> ResponseReturnValue:
    ssh_keys.remove_own_key(current_backend(), browser.insist_on_user(), key_id)
    browser.go("/ssh-keys")


def _page(user: User, problems: tuple[FieldError, ...] = ()) -> str:
    with current_backend().transaction() as session:
        page = forms.read_page(
            lambda start, count: lists.ssh_keys_of(session, user, start, count),
        )
    filled = request.form if problems else {}
    return render_template("ssh_keys.html", page=page, problems=problems, filled=filled)
