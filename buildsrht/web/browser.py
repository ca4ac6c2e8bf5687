"""Who browses, for pages: signing in and out, and what keeps other sites from acting through that.

A browser has one cookie while somebody is signed in, and another one while nobody is. Every form
has a word that is made from the one or the other: another site can have a form sent here, but does
not know the word. That holds for the form to sign in as well, or else a site could sign somebody in
as somebody else.
"""

import hmac
import secrets
from hashlib import sha256
from importlib.metadata import version
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, abort, g, redirect, request

from buildsrht.browsing import NOBODY, SIGN_IN, cookie_name, current_user, is_https
from buildsrht.errors import Forbidden
from buildsrht.models import User
from buildsrht.services import sign_ins
from buildsrht.serving import current_backend
from buildsrht.web import notice

FIELD = "csrf"
HOME = "/"
DAY_SECONDS = 86400
VERSION = version("buildsrht")


def install(pages: Blueprint) -> None:
    pages.before_request(_insist_on_our_forms)
    pages.after_request(finish)
    pages.context_processor(frame)


def frame() -> dict[str, Any]:
    """What each page has around its content."""
    return {
        "user": current_user(),
        "csrf": form_word,
        "field": FIELD,
        "version": VERSION,
        "notice": notice.shown(),
    }


# --- who --------------------------------------------------------------------------------------


def insist_on_user() -> User:
    """Who is signed in in this browser, or else the way to sign in and back here."""
    user = current_user()
    if user is None:
        here = request.full_path if request.query_string else request.path
        go(f"/login?return_to={quote(here, safe='')}")
    return user


def begin(user: User) -> None:
    """From now on this browser is the user's. Whatever cookie it had before is worth nothing."""
    end()
    g.new_sign_in = sign_ins.begin(current_backend(), user)


def end() -> None:
    """From now on this browser is nobody's."""
    text = request.cookies.get(cookie_name(SIGN_IN))
    if text:
        sign_ins.end(current_backend(), text)
    g.user = None
    g.new_sign_in = ""


# --- where ------------------------------------------------------------------------------------


def go(path: str) -> NoReturn:
    abort(redirect(path, 303))


def local_path(text: str | None) -> str:
    """A path of this service, whatever somebody wrote into a link to it."""
    if not text or not text.isascii() or not text.isprintable() or "\\" in text:
        return HOME
    return text if text.startswith("/") and not text.startswith("//") else HOME


def allow_answer_at(uri: str) -> None:
    """The forms of this page lead here and from here to that address, which is none of ours."""
    parts = urlsplit(uri)
    # The language of the header has no IPv6.
    is_ipv6 = "[" in parts.netloc
    g.form_targets = f"{parts.scheme}:" if is_ipv6 else f"{parts.scheme}://{parts.netloc}"


# --- forms ------------------------------------------------------------------------------------


def form_word() -> str:
    """What a form has to bring back."""
    return hmac.new(_browser_text().encode(), b"form", sha256).hexdigest()


def _browser_text() -> str:
    """What only this browser and we know."""
    if current_user():
        return request.cookies[cookie_name(SIGN_IN)]
    if "nobody" not in g:
        g.nobody = request.cookies.get(cookie_name(NOBODY)) or secrets.token_urlsafe(32)
    text: str = g.nobody
    return text


def _insist_on_our_forms() -> None:
    if request.method == "POST" and not hmac.compare_digest(
        request.form.get(FIELD, "").encode(), form_word().encode()
    ):
        raise Forbidden("this form is too old, or not from here: load its page again")


# --- answers ----------------------------------------------------------------------------------


def finish(response: Response) -> Response:
    if "new_sign_in" in g:
        _keep(response, SIGN_IN, g.new_sign_in, sign_ins.DAYS * DAY_SECONDS)
        _keep(response, NOBODY, "", 0)
    elif "nobody" in g and request.cookies.get(cookie_name(NOBODY)) != g.nobody:
        _keep(response, NOBODY, g.nobody, DAY_SECONDS)
    targets = " ".join(["'self'", *filter(None, [g.get("form_targets")])])
    response.headers.update(
        {
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
                "img-src 'self'; base-uri 'none'; "
                f"form-action {targets}; frame-ancestors 'none'"
            ),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
    )
    # They have words for forms in them, and some a secret that is shown once. What has neither says
    # itself how long it may be kept.
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _keep(response: Response, name: str, text: str, seconds: int) -> None:
    response.set_cookie(
        cookie_name(name),
        text,
        max_age=seconds if text else 0,
        secure=is_https(),
        httponly=True,
        samesite="Lax",
    )
