"""The authorization server: Authlib's, over our services.

Knows the requests and answers of OAuth 2.0; nothing of pages and of who is signed in.
"""

from collections import defaultdict
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Payload,
    OAuth2Request,
)
from authlib.oauth2.rfc9207 import IssuerParameter
from flask import Request, Response
from flask import request as current_request
from werkzeug.datastructures import MultiDict

from buildsrht.backend import Backend
from buildsrht.errors import BadInput
from buildsrht.models import User
from buildsrht.oauth.endpoints import DeviceAuthorization, Introspection, Revocation
from buildsrht.oauth.flows import ByCode, ByDevice, ByRefresh, RequiredChallenge
from buildsrht.oauth.programs import Client
from buildsrht.services.clients import find_program
from buildsrht.services.scopes import read_scopes

# Where browsers are sent for leave. All else of a server is asked by programs, with forms.
AUTHORIZE = "/oauth2/authorize"


class Server(AuthorizationServer):
    def __init__(self, backend: Backend):
        super().__init__()
        self.backend = backend
        self.issuer = backend.config.web.origin
        self._naming = _Naming(self.issuer)
        self.register_grant(ByCode, [RequiredChallenge()])
        self.register_grant(ByDevice)
        self.register_grant(ByRefresh)
        for endpoint in (DeviceAuthorization, Introspection, Revocation):
            self.register_endpoint(endpoint)

    # --- what a browser is sent with --------------------------------------------------------------

    def consent_grant(self, user: User | None) -> ByCode:
        """What this request of a browser asks for, if it may be asked.

        Raises OAuth2Error. One with a `redirect_uri` is for the program, and answered by `refusal`;
        one without is for the person, because nobody knows whose address that would be.
        """
        try:
            grant: ByCode = self.get_consent_grant(end_user=user)
        except ValueError as error:
            # Authlib does not repeat in an error what may not stand there; and says so like this.
            raise InvalidRequestError("the request has characters that it may not have") from error
        return grant

    def refusal(self, error: OAuth2Error) -> Response:
        response: Response = self.handle_error_response(None, error)
        self._naming.add_issuer_parameter(self, response)
        return response

    def decision(self, grant: ByCode, user: User | None) -> Response:
        """The answer to the program: the user has allowed it, or has not if there is none."""
        response: Response = self.create_authorization_response(
            request=grant.request, grant_user=user, grant=grant
        )
        self._naming.add_issuer_parameter(self, response)
        return response

    # --- what Authlib asks ------------------------------------------------------------------------

    def query_client(self, client_id: str) -> Client | None:
        with self.backend.transaction() as session:
            program = find_program(session, client_id)
        return Client(program) if program else None

    def authenticate_client(
        self, request: OAuth2Request, methods: Any, endpoint: str = "token"
    ) -> Client:
        try:
            client: Client = super().authenticate_client(request, methods, endpoint)
        except ValueError as error:
            said = "the Authorization header is no text"
            raise InvalidClientError(said, status_code=401) from error
        return client

    def validate_requested_scope(self, scope: str | None) -> None:
        self.read_scopes(scope)

    def read_scopes(self, scope: str | None) -> list[str]:
        try:
            return read_scopes((scope or "").split())
        except BadInput as error:
            reason = "the scopes are missing, or unknown; the metadata of this server lists them"
            raise InvalidScopeError(reason) from error

    def create_oauth2_request(self, request: object) -> OAuth2Request:
        return request if isinstance(request, OAuth2Request) else _Request(current_request)


class _Request(OAuth2Request):
    """A request as Authlib reads it: a browser's from its address, a program's from its form."""

    def __init__(self, request: Request):
        # Authlib wants https, and sees only how the last proxy has asked. How people get here is
        # the operator's to decide.
        super().__init__(request.method, "https://here", headers=request.headers)
        parameters = request.args if request.path == AUTHORIZE else request.form
        self.payload = _Payload(parameters)

    @property
    def args(self) -> MultiDict[str, str]:
        return self.payload.data

    @property
    def form(self) -> MultiDict[str, str]:
        return self.payload.data


class _Payload(OAuth2Payload):
    def __init__(self, parameters: MultiDict[str, str]):
        self._parameters = parameters

    @property
    def data(self) -> MultiDict[str, str]:
        return self._parameters

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return defaultdict(list, self._parameters.to_dict(flat=False))


class _Naming(IssuerParameter):
    """RFC 9207: a program that knows several servers learns which one has answered."""

    def __init__(self, issuer: str):
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer
