"""Who browses: the cookies of a browser, and what keeps other sites from acting through it.

A browser has one cookie while somebody is signed in, and another one while nobody is. Every form
has a word that is made from the one or the other: another site can have a form sent here, but does
not know the word. That holds for the form to sign in as well, or else a site could sign somebody in
as somebody else.
"""

import hmac
import secrets
from hashlib import sha256
from typing import NoReturn
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, abort, g, redirect, request

from buildsrht.errors import Forbidden
from buildsrht.models import User
from buildsrht.services import sign_ins
from buildsrht.serving import current_backend

SIGN_IN = "buildsrht"
NOBODY = "buildsrht-nobody"
FIELD = "csrf"
HOME = "/oauth2/personal-token"
DAY_SECONDS = 86400


def install(pages: Blueprint) -> None:
    pages.before_request(_insist_on_our_forms)
    pages.after_request(_finish)
    pages.context_processor(lambda: {"user": current_user(), "csrf": form_word, "field": FIELD})


# --- who --------------------------------------------------------------------------------------


def current_user() -> User | None:
    """Who is signed in in this browser."""
    if "user" not in g:
        text = request.cookies.get(_cookie(SIGN_IN))
        with current_backend().transaction() as session:
            g.user = sign_ins.find_user(session, text) if text else None
    user: User | None = g.user
    return user


def insist_on_user() -> User:
    """The same, or else the way to sign in and back here."""
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
    text = request.cookies.get(_cookie(SIGN_IN))
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
        return request.cookies[_cookie(SIGN_IN)]
    if "nobody" not in g:
        g.nobody = request.cookies.get(_cookie(NOBODY)) or secrets.token_urlsafe(32)
    text: str = g.nobody
    return text


def _insist_on_our_forms() -> None:
    if request.method == "POST" and not hmac.compare_digest(
        request.form.get(FIELD, "").encode(), form_word().encode()
    ):
        raise Forbidden("this form is too old, or not from here: load its page again")


# --- answers ----------------------------------------------------------------------------------


def _finish(response: Response) -> Response:
    if "new_sign_in" in g:
        _keep(response, SIGN_IN, g.new_sign_in, sign_ins.DAYS * DAY_SECONDS)
        _keep(response, NOBODY, "", 0)
    elif "nobody" in g and request.cookies.get(_cookie(NOBODY)) != g.nobody:
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
    if request.endpoint != "web.static":
        # They have words for forms in them, and some a secret that is shown once.
        response.headers["Cache-Control"] = "no-store"
    return response


def _keep(response: Response, name: str, text: str, seconds: int) -> None:
    response.set_cookie(
        _cookie(name),
        text,
        max_age=seconds if text else 0,
        secure=_is_https(),
        httponly=True,
        samesite="Lax",
    )


def _cookie(name: str) -> str:
    # With this prefix no other host of the same domain can set it.
    return f"__Host-{name}" if _is_https() else name


def _is_https() -> bool:
    return current_backend().config.web.origin.startswith("https:")
