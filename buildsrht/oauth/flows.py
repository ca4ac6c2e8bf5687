"""The three ways to get tokens, as Authlib walks through them: by an authorization code, by the
code of a device, and by a refresh token.

Authlib reads the requests and knows the errors. What is good, and what becomes of it, the services
say; each exchange is one call that either gives tokens or refuses.
"""

from typing import Any

from authlib.oauth2.rfc6749 import (
    AuthorizationCodeGrant,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant

from buildsrht.backend import Backend
from buildsrht.errors import Conflict, Forbidden
from buildsrht.models import DeviceCode, User
from buildsrht.oauth.programs import WITH_SECRET, Client, Code, IssuedToken
from buildsrht.services import devices, grants
from buildsrht.services.clients import program_of
from buildsrht.services.scopes import read_scopes

AUTH_METHODS = [*WITH_SECRET, "none"]


class _Issuing:
    """Tokens come from the service, which has kept them when it returns."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS
    server: Any
    request: Any

    @property
    def backend(self) -> Backend:
        backend: Backend = self.server.backend
        return backend

    def spent(self) -> grants.Once:
        """What is used up for the tokens."""
        raise NotImplementedError

    def generate_token(self, scope: str = "", **_: object) -> dict[str, Any]:
        try:
            issued = grants.issue(self.backend, self.spent(), scope.split())
        except Conflict as error:
            raise InvalidGrantError(str(error)) from error
        except Forbidden as error:
            raise InvalidScopeError(str(error)) from error
        return {
            "token_type": "Bearer",
            "access_token": issued.access_token,
            "refresh_token": issued.refresh_token,
            "expires_in": issued.seconds,
            "scope": " ".join(issued.scopes),
        }

    def save_token(self, token: dict[str, Any]) -> None:
        pass


class ByCode(_Issuing, AuthorizationCodeGrant):
    def generate_authorization_code(self) -> str:
        request = self.request
        return grants.authorize(
            self.backend,
            request.user,
            request.client.program,
            request.scope.split(),
            redirect_uri=request.payload.redirect_uri,
            challenge=request.payload.data["code_challenge"],
        )

    def save_authorization_code(self, code: str, request: object) -> None:
        pass

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        found = grants.find_code(self.backend, code)
        if found is None or program_of(found.grant.client).client_id != client.get_client_id():
            return None
        return Code(found)

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.row.grant.user

    def spent(self) -> grants.Once:
        return self.request.authorization_code.row

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """It stays on record, used."""


class RequiredChallenge(CodeChallenge):
    """PKCE is required of everybody, and only its method S256 protects."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012

    def validate_code_challenge(self, grant: ByCode, redirect_uri: str) -> None:
        asked = grant.request.payload.data
        if not asked.get("code_challenge") or asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("a code_challenge is needed, of the method S256")
        super().validate_code_challenge(grant, redirect_uri)


class ByDevice(_Issuing, DeviceCodeGrant):
    def query_device_credential(self, device_code: str) -> "_Device":
        with self.backend.transaction() as session:
            row = devices.find_device(session, device_code)
        if row is None:
            raise InvalidGrantError("there is no such device_code")
        if row.used is not None:
            grants.revoke_for_reuse(self.backend, row)
            raise InvalidGrantError("this was used already: the grant is revoked")
        self._device = _Device(row)
        return self._device

    def query_user_grant(self, user_code: str) -> tuple[User | None, bool] | None:
        row = self._device.row
        if row.denied is not None:
            return None, False
        if row.grant_id is None:
            return None
        with self.backend.transaction() as session:
            grant = grants.find_living(session, row.grant_id)
        return (grant.user, True) if grant else (None, False)

    def should_slow_down(self, credential: "_Device") -> bool:
        return devices.asks_too_often(self.backend, credential.row)

    def spent(self) -> grants.Once:
        return self._device.row


class _Device:
    """A device's code as Authlib asks for it."""

    def __init__(self, row: DeviceCode):
        self.row = row

    def get_client_id(self) -> str:
        return program_of(self.row.client).client_id

    def get_user_code(self) -> str:
        return self.row.user_code

    def get_scope(self) -> str:
        return " ".join(self.row.scopes)

    def is_expired(self) -> bool:
        return devices.is_over(self.row)


class ByRefresh(_Issuing, RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> IssuedToken | None:
        found = grants.find_refresh_token(self.backend, refresh_token)
        return IssuedToken(found, found.grant) if found else None

    def _validate_token_scope(self, token: IssuedToken) -> None:
        """They have to be known. What is within what was granted, in other words too, the service
        says."""
        if self.request.payload.scope:
            self.server.read_scopes(self.request.payload.scope)

    def issue_token(self, user: User, refresh_token: IssuedToken) -> dict[str, Any]:
        scope = self.request.payload.scope or refresh_token.get_scope()
        return self.generate_token(scope=" ".join(read_scopes(scope.split())))

    def authenticate_user(self, refresh_token: IssuedToken) -> User:
        return refresh_token.grant.user

    def spent(self) -> grants.Once:
        return self.request.refresh_token.row

    def revoke_old_credential(self, refresh_token: IssuedToken) -> None:
        """It stays on record, used."""
