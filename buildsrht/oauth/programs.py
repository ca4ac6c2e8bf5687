"""What Authlib asks of a client and of what was issued to it, answered by the services' own.

No rules: each method says how one is called on the other side.
"""

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin

from buildsrht.models import AuthorizationCode, OAuthGrant, RefreshToken, Token
from buildsrht.services.clients import COMMAND_LINE, Program, program_of
from buildsrht.services.grants import is_good
from buildsrht.services.scopes import read_scopes

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
WITH_SECRET = ("client_secret_basic", "client_secret_post")


class Client(ClientMixin):
    def __init__(self, program: Program):
        self.program = program

    def get_client_id(self) -> str:
        return self.program.client_id

    def get_default_redirect_uri(self) -> None:
        """A request says where it is answered, always."""

    def get_allowed_scope(self, scope: str) -> str:
        return " ".join(read_scopes(scope.split()))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return self.program.may_be_answered_at(redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return self.program.has_secret(client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in (WITH_SECRET if self.program.is_confidential else ("none",))

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and self.program is not COMMAND_LINE

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("refresh_token", DEVICE_CODE) or self.check_response_type("code")


class Code(AuthorizationCodeMixin):
    def __init__(self, row: AuthorizationCode):
        self.row = row
        self.code_challenge = row.challenge
        self.code_challenge_method = "S256"

    def get_redirect_uri(self) -> str:
        return self.row.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.row.grant.scopes)


class IssuedToken(TokenMixin):
    """An access or a refresh token of a program."""

    def __init__(self, row: Token | RefreshToken, grant: OAuthGrant):
        self.row = row
        self.grant = grant
        self.program = program_of(grant.client)

    def check_client(self, client: Client) -> bool:
        return client.program.client_id == self.program.client_id

    def get_scope(self) -> str:
        return " ".join(self.row.scopes if isinstance(self.row, Token) else self.grant.scopes)

    def get_expires_in(self) -> int:
        return int((self.row.expires - self.row.created).total_seconds())

    def is_expired(self) -> bool:
        return not is_good(self.row, self.grant)

    def is_revoked(self) -> bool:
        return not is_good(self.row, self.grant)
