"""Sign-in by an OpenID Connect provider: we are the client, and believe what it has signed for us.

Knows the provider's addresses and keys, which it asks for and keeps for a while. What becomes of
the person that it names is none of its business.
"""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from buildsrht.config import Oidc
from buildsrht.errors import Forbidden, OperatorError, Unavailable

TIMEOUT_SECONDS = 10
KEEP_SECONDS = 3600
# Keys are asked for again when a token has one that is not known; not more often than this.
FRESH_SECONDS = 10
LEEWAY_SECONDS = 30
SCOPES = "openid profile email"
# Only what is signed with a key that the provider alone has: `none` and shared secrets are not.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "ES512", "Ed25519"]


@dataclass(frozen=True)
class Asked:
    """What is sent, and what has to come back with the answer."""

    address: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Person:
    """Whom the provider has signed for."""

    subject: str
    name: str
    email: str | None


class Provider:
    def __init__(self, settings: Oidc, redirect_uri: str):
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._metadata_read = self._keys_read = float("-inf")

    @property
    def issuer(self) -> str:
        return self._settings.issuer

    def ask(self) -> Asked:
        """Where to send a browser, and what to remember until it comes back."""
        nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        with self._session() as session:
            address, state = session.create_authorization_url(
                self._endpoint("authorization_endpoint"),
                state=secrets.token_urlsafe(32),
                code_verifier=verifier,
                nonce=nonce,
            )
        return Asked(address, state, nonce, verifier)

    def identify(self, code: str, nonce: str, verifier: str) -> Person:
        """Who has come back with this code. Raises Forbidden if the provider's word is not good,
        and Unavailable if it does not answer."""
        try:
            with self._session() as session:
                answer = session.fetch_token(
                    self._endpoint("token_endpoint"),
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                )
        except AuthlibBaseError as error:
            raise Forbidden("the provider does not know this sign-in") from error
        except (requests.RequestException, ValueError) as error:
            raise Unavailable(f"the provider does not answer: {error}") from error
        claims = self._verify(answer.get("id_token"), nonce, answer.get("access_token"))
        name = claims.get(self._settings.name_claim)
        return Person(
            subject=claims["sub"],
            name=name if isinstance(name, str) else "",
            email=_verified_email(claims),
        )

    # --- what it has signed -----------------------------------------------------------------------

    def _verify(self, text: object, nonce: str, access_token: object) -> CodeIDToken:
        settings = self._settings
        expected = {
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
        }
        context = {"nonce": nonce, "client_id": settings.client_id, "access_token": access_token}
        try:
            token = self._decode(str(text))
            claims = CodeIDToken(token.claims, token.header, options=expected, params=context)
            claims.validate(leeway=LEEWAY_SECONDS)
            subject = claims["sub"]
            is_text = isinstance(subject, str) and subject.isprintable()
            if not is_text or not 0 < len(subject) <= 255:
                raise ValueError("sub is no text of 1 to 255 characters")
        except (JoseError, AuthlibBaseError, LookupError, ValueError, TypeError) as error:
            raise Forbidden("what the provider has signed is not good") from error
        return claims

    def _decode(self, text: str) -> jwt.Token:
        try:
            return jwt.decode(text, self._key_set(KEEP_SECONDS), algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            # It may have begun to use another key.
            return jwt.decode(text, self._key_set(FRESH_SECONDS), algorithms=ALGORITHMS)

    # --- what it says of itself -------------------------------------------------------------------

    def _session(self) -> OAuth2Session:
        secret = _read(self._settings.client_secret_file)
        return OAuth2Session(
            self._settings.client_id,
            secret,
            scope=SCOPES,
            redirect_uri=self._redirect_uri,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            code_challenge_method="S256",
            default_timeout=TIMEOUT_SECONDS,
        )

    def _endpoint(self, name: str) -> str:
        if time.monotonic() - self._metadata_read > KEEP_SECONDS:
            address = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = _fetch(address)
            if metadata.get("issuer") != self.issuer:
                raise Unavailable("the provider calls itself something else than [oidc] issuer")
            self._metadata, self._metadata_read = metadata, time.monotonic()
        endpoint = self._metadata.get(name)
        if not isinstance(endpoint, str):
            raise Unavailable(f"the provider has no {name}")
        return endpoint

    def _key_set(self, seconds: int) -> KeySet:
        if self._keys is None or time.monotonic() - self._keys_read > seconds:
            self._keys = KeySet.import_key_set(_fetch(self._endpoint("jwks_uri")))
            self._keys_read = time.monotonic()
        return self._keys


def _fetch(address: str) -> Any:
    try:
        # What a provider says of itself is said there, and not where it may send us on to.
        answer = requests.get(address, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        answer.raise_for_status()
        said = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise Unavailable(f"the provider does not answer: {error}") from error
    if answer.status_code != 200 or not isinstance(said, dict):
        raise Unavailable(f"the provider does not answer at {address}")
    return said


def _verified_email(claims: CodeIDToken) -> str | None:
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") is True else None


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OperatorError(f"[oidc] client_secret_file: {path}: {error.strerror}") from error
