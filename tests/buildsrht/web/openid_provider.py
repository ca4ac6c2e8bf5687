"""An OpenID Connect provider that listens, made of Authlib's own server side.

It knows one person and lets everybody in as them. What it signs can be spoiled.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeGrant, ClientMixin
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode, UserInfo
from flask import Flask, request
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

CLIENT_ID = "builds"
SECRET = "the secret of builds"
# Takes long to make.
FIRST_KEY = RSAKey.generate_key(2048, {"kid": "first"})


class Client(ClientMixin):
    def get_client_id(self):
        return CLIENT_ID

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri.endswith("/login/provider/callback")

    def check_client_secret(self, client_secret):
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


class Code(SimpleNamespace):
    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return None

    get_acr = get_amr = get_auth_time


class ProviderForTests:
    """`claims` is whom it signs for, and what it says in place of the truth."""

    def __init__(self) -> None:
        self.issuer = ""
        self.key = FIRST_KEY
        self.signing_key = self.key
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {"sub": "subject-1", "preferred_username": "ada"}
        self.metadata: dict[str, Any] = {}
        self.codes: dict[str, Code] = {}
        self.denies = False

    def app(self) -> Flask:
        provider = self
        app = Flask("provider")

        class Grant(AuthorizationCodeGrant):
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

            def save_authorization_code(self, code, request):
                asked = request.payload.data
                provider.codes[code] = Code(
                    redirect_uri=request.payload.redirect_uri,
                    scope=request.payload.scope,
                    nonce=asked.get("nonce"),
                    code_challenge=asked.get("code_challenge"),
                    code_challenge_method=asked.get("code_challenge_method"),
                )

            def query_authorization_code(self, code, client):
                return provider.codes.get(code)

            def delete_authorization_code(self, authorization_code):
                provider.codes.clear()

            def authenticate_user(self, authorization_code):
                return "somebody"

        class Signing(OpenIDCode):
            def exists_nonce(self, nonce, request):
                return False

            def resolve_client_private_key(self, client):
                return provider.signing_key

            def get_encode_header(self, client):
                return {"alg": provider.algorithm, "kid": provider.signing_key.kid}

            def get_client_algorithm(self, client):
                return provider.algorithm

            def get_client_claims(self, client):
                return {"iss": provider.issuer}

            def generate_user_info(self, user, scope):
                return UserInfo(provider.claims)

        def keep_nothing(token, request):
            pass

        server = AuthorizationServer(app, lambda client_id: Client(), keep_nothing)
        server.register_grant(Grant, [CodeChallenge(required=True), Signing(require_nonce=True)])

        @app.get("/authorize")
        def authorize():
            grant = server.get_consent_grant(end_user="somebody")
            user = None if provider.denies else "somebody"
            return server.create_authorization_response(grant_user=user, grant=grant)

        @app.post("/token")
        def token():
            assert request.authorization, "the client has to prove who it is"
            return server.create_token_response()

        @app.get("/keys")
        def keys():
            return KeySet([provider.key]).as_dict(private=False)

        @app.get("/.well-known/openid-configuration")
        def configuration():
            return {
                "issuer": provider.issuer,
                "authorization_endpoint": f"{provider.issuer}/authorize",
                "token_endpoint": f"{provider.issuer}/token",
                "jwks_uri": f"{provider.issuer}/keys",
                **provider.metadata,
            }

        return app


@contextmanager
def running() -> Iterator[ProviderForTests]:
    provider = ProviderForTests()
    server = make_server("127.0.0.1", 0, provider.app(), threaded=True)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
