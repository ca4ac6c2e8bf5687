"""How many requests a client may make in a time: counted before anything else is done for them.

A client is a user, by whatever token or sign-in they come, and else an address. What does not count
is `FREE`: what monitors ask, who have to be told the truth also when somebody floods us from where
they are; and the files that pages are made of, which are the same for everybody.

Each answer that was counted says what is left, in RateLimit and RateLimit-Policy (the IETF's draft
ietf-httpapi-ratelimit-headers), and a refusal in Retry-After besides when to come again. How that
looks is up to whoever answers: the API, GraphQL, OAuth and pages each have a form for errors.
"""

from flask import Flask, Response, g, request

from buildsrht import browsing
from buildsrht.errors import TooMany
from buildsrht.models import User
from buildsrht.oauth import TokenRefused, acting_token
from buildsrht.rates import Count
from buildsrht.services.attempts import place
from buildsrht.services.tokens import user_of
from buildsrht.serving import current_backend

# Paths that begin so.
FREE = ("/health", "/metrics", "/static/")


def install(app: Flask) -> None:
    app.before_request(_count)
    app.after_request(_say_what_is_left)


def client_of_request() -> str:
    """Who asks, as far as that is counted."""
    user = _known_user()
    return f"user {user.id}" if user else f"address {place(request.remote_addr)}"


def _count() -> None:
    """Raises TooMany."""
    if request.path.startswith(FREE):
        return
    backend = current_backend()
    rate = backend.config.limits.requests
    if rate is None:
        return
    count = backend.rates.count("requests", rate, client_of_request())
    if count is None:
        return
    g.rate = count
    if count.is_exceeded:
        raise TooMany(
            f"more than {rate.amount} requests in {rate.seconds} seconds, which is the most "
            "for one client",
            count.seconds,
        )


def _known_user() -> User | None:
    """Nobody, if the token is not good: whoever guesses is counted by their address."""
    if "Authorization" not in request.headers:
        return browsing.find_signed_in()
    try:
        return user_of(acting_token(None))
    except TokenRefused:
        return None


def _say_what_is_left(response: Response) -> Response:
    count: Count | None = g.get("rate")
    if count:
        name, rate = f'"{count.what}"', count.rate
        response.headers["RateLimit-Policy"] = f"{name};q={rate.amount};w={rate.seconds}"
        response.headers["RateLimit"] = f"{name};r={count.left};t={count.seconds}"
    return response
