"""Let in whoever brings a good token, or reads in a browser: the first line of protected views.

`Authorization: Bearer X` and `Authorization: token X` mean the same; the second is what clients
of the original send. A header that is there has to be good, also where none is needed: a client
whose token has expired should hear of that, not see less than before.

Without that header the sign-in of a browser (buildsrht.browsing) lets its user read everything that
is theirs, so that pages can link to it. It never lets them change anything: another site can have a
browser send a request, cookie and all, but no header, and none of the words in the forms of pages.
"""

from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import MissingAuthorizationError, UnsupportedTokenTypeError
from authlib.oauth2.rfc6750 import (
    BearerTokenValidator,
    InsufficientScopeError,
    InvalidTokenError,
)
from flask import Flask, current_app, g, request

from buildsrht import browsing
from buildsrht.backend import Backend
from buildsrht.errors import Forbidden, Unauthorized
from buildsrht.models import Token, User
from buildsrht.services.tokens import find_token, is_allowed, is_usable, user_of
from buildsrht.services.users import SUSPENDED, is_suspended

EXTENSION = "buildsrht.oauth"
READING = ("GET", "HEAD")


class TokenRefused(Unauthorized):
    """No token that we know and that is still good."""

    def __init__(self, reason: str, **parameters: str):
        super().__init__(reason)
        self.challenge = _challenge(**parameters)


class ScopeMissing(Forbidden):
    """A good token, for something else."""

    def __init__(self, scope: str):
        super().__init__(f"this needs a token with the scope {scope}")
        self.challenge = _challenge(error="insufficient_scope", scope=scope)


def _challenge(**parameters: str) -> str:
    """The value of WWW-Authenticate (RFC 6750, section 3)."""
    said = {"realm": "buildsrht", **parameters}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in said.items())


def install(app: Flask, backend: Backend) -> None:
    protector = ResourceProtector()
    protector.register_token_validator(_BearerForm(backend))
    protector.register_token_validator(_TokenForm(backend))
    app.extensions[EXTENSION] = protector


def acting_token(scope: str | None) -> Token:
    """The token that this request is made with; it has `scope`, where that is all that matters.

    Raises TokenRefused or ScopeMissing.
    """
    try:
        scopes = [scope] if scope else []
        token: Token = current_app.extensions[EXTENSION].acquire_token(scopes)
    except MissingAuthorizationError as error:
        raise TokenRefused("this needs a token: send `Authorization: Bearer ...`") from error
    except UnsupportedTokenTypeError as error:
        raise TokenRefused("the header must read `Authorization: Bearer ...`") from error
    except InsufficientScopeError as error:
        raise ScopeMissing(scope or "") from error
    except OAuth2Error as error:
        reason = "the token is unknown, expired or revoked"
        raise TokenRefused(reason, error="invalid_token", error_description=reason) from error
    return token


def acting_user(scope: str) -> User:
    """The user who makes this request, with a token that has `scope`, or who reads in a browser."""
    return _reading_user() or user_of(acting_token(scope))


def acting_user_if_any(scope: str) -> User | None:
    """The same where neither is needed: None without the header and the cookie."""
    return acting_user(scope) if "Authorization" in request.headers else _reading_user()


def may_also(scope: str) -> bool:
    """Whether this request, which was let in already, may do that besides: only a token is for
    some things and not for others."""
    return "Authorization" not in request.headers or is_allowed(acting_token(None), scope)


def _reading_user() -> User | None:
    """Who is signed in in the browser that asks, if it only reads."""
    if "Authorization" in request.headers or request.method not in READING:
        return None
    return browsing.current_user()


class _BearerForm(BearerTokenValidator):
    def __init__(self, backend: Backend):
        super().__init__()
        self._backend = backend

    def authenticate_token(self, token_string: str) -> Token | None:
        # Whoever asks is asked for more than once: to be counted, to be let in, and by some views.
        if "tokens" not in g:
            g.tokens = {}
        if token_string not in g.tokens:
            with self._backend.transaction() as session:
                g.tokens[token_string] = find_token(session, token_string)
        token: Token | None = g.tokens[token_string]
        return token

    def validate_token(self, token: Token | None, scopes: list[str], request: object) -> None:
        if token is None or not is_usable(token):
            raise InvalidTokenError
        if is_suspended(token.user):
            raise TokenRefused(SUSPENDED, error="invalid_token", error_description=SUSPENDED)
        if not all(is_allowed(token, scope) for scope in scopes):
            raise InsufficientScopeError


class _TokenForm(_BearerForm):
    TOKEN_TYPE = "token"
