"""OAuth 2.0: who asks, proven by an access token, what the token is good for, and how programs that
people let act for them get one.

Knows HTTP and the services of accounts, tokens and grants; knows nothing of jobs, nor of pages.

    resources   who makes a request, by its token
    server      Authlib's authorization server, which pages ask for leave to ask
    flows       how tokens are got
    endpoints   what else programs ask about tokens
    programs    what Authlib knows of a client and a token
    routes      the addresses of all that
"""

from flask import Flask

from buildsrht.backend import Backend
from buildsrht.oauth import resources, routes
from buildsrht.oauth.resources import (
    ScopeMissing,
    TokenRefused,
    acting_token,
    acting_user,
    acting_user_if_any,
    may_also,
)


def install(app: Flask, backend: Backend) -> None:
    resources.install(app, backend)
    routes.install(app, backend)


__all__ = [
    "ScopeMissing",
    "TokenRefused",
    "acting_token",
    "acting_user",
    "acting_user_if_any",
    "install",
    "may_also",
]
