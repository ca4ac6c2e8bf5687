"""What programs ask besides tokens: a code for a device, what a token is worth, its end."""

from typing import Any

from authlib.consts import default_json_headers
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidRequestError, OAuth2Request
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint

from buildsrht import urls
from buildsrht.backend import Backend
from buildsrht.errors import NotFound
from buildsrht.oauth.programs import WITH_SECRET, Client, IssuedToken
from buildsrht.services import devices, grants

Answer = tuple[int, dict[str, Any], list[tuple[str, str]]]


def _find(backend: Backend, request: OAuth2Request) -> IssuedToken | None:
    """The token that the request is about. What kind of token it is taken for does not matter."""
    text = request.form.get("token")
    if not text:
        raise InvalidRequestError("a token is needed")
    with backend.transaction() as session:
        row = grants.find_issued(session, text)
        return IssuedToken(row, grants.grant_of(session, row)) if row else None


class DeviceAuthorization(DeviceAuthorizationEndpoint):
    def create_endpoint_response(self, request: OAuth2Request) -> Answer:
        client = self.authenticate_client(request)
        scopes = self.server.read_scopes(request.payload.scope)
        try:
            begun = devices.begin(self.server.backend, client.program, scopes)
        except NotFound as error:
            raise InvalidClientError(str(error)) from error
        page = urls.device_page(self.server.issuer)
        said = {
            "device_code": begun.device_code,
            "user_code": begun.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={begun.user_code}",
            "expires_in": begun.seconds,
            "interval": begun.pause_seconds,
        }
        return 200, said, default_json_headers


class Introspection(IntrospectionEndpoint):
    """For programs that have a secret, about tokens of their own."""

    CLIENT_AUTH_METHODS = WITH_SECRET

    def authenticate_token(self, request: OAuth2Request, client: Client) -> IssuedToken | None:
        token = _find(self.server.backend, request)
        return token if token and token.check_client(client) else None

    def introspect_token(self, token: IssuedToken) -> dict[str, Any]:
        user = token.grant.user
        return {
            "active": True,
            "client_id": token.program.client_id,
            "username": user.name,
            "sub": str(user.id),
            "scope": token.get_scope(),
            "iss": self.server.issuer,
            "iat": int(token.row.created.timestamp()),
            "exp": int(token.row.expires.timestamp()),
        }


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = (*WITH_SECRET, "none")

    def check_params(self, request: OAuth2Request, client: Client) -> None:
        """All that is needed is a token, and `query_token` sees whether it is there."""

    def authenticate_token(self, request: OAuth2Request, client: Client) -> IssuedToken | None:
        """Somebody else's is as unknown as one that never was."""
        token = _find(self.server.backend, request)
        return token if token and token.check_client(client) else None

    def revoke_token(self, token: IssuedToken, request: OAuth2Request) -> None:
        grants.give_back(self.server.backend, token.row)
