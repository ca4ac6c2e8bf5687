"""Who browses: the cookies that this service gives to browsers, and who is signed in by one.

Both pages and the API ask here: whoever is signed in may read with links and scripts of a page what
a token of theirs may read. Since the same address then has another answer for another cookie, no
cache may mix them up, and no other site may load them. What browsers may change, and by which
forms, is the pages' own (buildsrht.web.browser).
"""

from flask import Flask, Response, g, request

from buildsrht.models import User
from buildsrht.services import sign_ins
from buildsrht.serving import current_backend

SIGN_IN = "buildsrht"
NOBODY = "buildsrht-nobody"


def install(app: Flask) -> None:
    app.after_request(_keep_apart)


def current_user() -> User | None:
    """Who is signed in in this browser."""
    if "user" not in g:
        g.user = find_signed_in()
    user: User | None = g.user
    return user


def find_signed_in() -> User | None:
    """The same, where it makes no difference to the answer: caches may have it as before."""
    if "signed_in" not in g:
        text = request.cookies.get(cookie_name(SIGN_IN))
        g.signed_in = _find(text) if text else None
    user: User | None = g.signed_in
    return user


def _find(text: str) -> User | None:
    with current_backend().transaction() as session:
        return sign_ins.find_user(session, text)


def cookie_name(name: str) -> str:
    # With this prefix no other host of the same domain can set it.
    return f"__Host-{name}" if is_https() else name


def is_https() -> bool:
    return current_backend().config.web.origin.startswith("https:")


def _keep_apart(response: Response) -> Response:
    """Of an answer that depends on who is signed in: for nobody else."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if "user" in g:
        response.vary.add("Cookie")
        response.headers.setdefault("Cache-Control", "no-store")
    if g.get("user"):
        # What other hosts of our domain embed is asked for with our cookie: SameSite means that.
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    return response
