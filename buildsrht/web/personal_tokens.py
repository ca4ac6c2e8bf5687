"""The tokens that somebody makes for themselves, as for a configuration file."""

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput
from buildsrht.models import User
from buildsrht.services import tokens
from buildsrht.services.scopes import AREAS
from buildsrht.serving import current_backend
from buildsrht.web import browser
from buildsrht.web.words import ALLOWED, in_words

routes = Blueprint("personal_tokens", __name__)

# What the form offers first: enough to submit jobs and see how they do.
USUAL = {"JOBS": "RW", "LOGS": "RO", "PROFILE": "RO", "SECRETS": ""}


@routes.get("/oauth2/personal-token")
def form() -> ResponseReturnValue:
    return _page(browser.insist_on_user())


@routes.post("/oauth2/personal-token")
def create() -> ResponseReturnValue:
    user = browser.insist_on_user()
    form = request.form
    scopes = [f"{area}:{form[area]}" for area in AREAS if form.get(area)]
    try:
        text = tokens.create_token(
            current_backend(),
            user.name,
            scopes,
            days=_number(form.get("days", "")),
            comment=form.get("comment", "").strip(),
        )
    except BadInput as bad:
        return _page(user, problems=bad.errors), 400
    return _page(user, text=text)


@routes.post("/oauth2/personal-token/<int:token_id>/revoke")
def revoke(token_id: int) -> ResponseReturnValue:
    tokens.revoke_own_token(current_backend(), browser.insist_on_user(), token_id)
    browser.go("/oauth2/personal-token")


def _number(text: str) -> int:
    """A number that the service refuses, where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _page(user: User, text: str | None = None, problems: tuple[object, ...] = ()) -> str:
    with current_backend().transaction() as session:
        own = [(token, in_words(token.scopes)) for token in tokens.list_tokens(session, user)]
    return render_template(
        "personal_tokens.html",
        own=own,
        text=text,
        problems=problems,
        areas=AREAS,
        usual=USUAL,
        allowed=ALLOWED,
        days=tokens.DEFAULT_DAYS,
        most_days=tokens.MOST_DAYS,
        filled=request.form,
    )
