"""The addresses that programs ask, with forms, and what they may read about this server."""

from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from flask.typing import ResponseReturnValue

from buildsrht.backend import Backend
from buildsrht.errors import TooMany
from buildsrht.oauth.programs import DEVICE_CODE, WITH_SECRET
from buildsrht.oauth.server import AUTHORIZE, Server
from buildsrht.services import attempts, devices
from buildsrht.services.scopes import SCOPES

EXTENSION = "buildsrht.oauth.server"

routes = Blueprint("oauth", __name__)


def install(app: Flask, backend: Backend) -> None:
    app.extensions[EXTENSION] = Server(backend)
    app.register_blueprint(routes)


def current_server() -> Server:
    server: Server = current_app.extensions[EXTENSION]
    return server


@routes.before_request
def refuse_repetition() -> ResponseReturnValue | None:
    """RFC 6749, section 3.2: no parameter twice. Who knows which one somebody else reads."""
    if any(len(values) > 1 for _, values in request.form.lists()):
        return {"error": "invalid_request", "error_description": "a parameter is there twice"}, 400
    return None


@routes.errorhandler(TooMany)
def too_many(error: TooMany) -> ResponseReturnValue:
    return {"error": "slow_down"}, 429, {"Retry-After": str(error.seconds)}


@routes.post("/oauth2/access-token")
def access_token() -> Response:
    response: Response = current_server().create_token_response()
    return response


@routes.post("/oauth2/device-authorization")
def device_authorization() -> Response:
    server = current_server()
    attempts.count(server.backend, devices.REQUESTS, attempts.place(request.remote_addr))
    response: Response = server.create_endpoint_response("device_authorization")
    return response


@routes.post("/oauth2/introspect")
def introspect() -> Response:
    response: Response = current_server().create_endpoint_response("introspection")
    return response


@routes.post("/oauth2/revoke")
def revoke() -> Response:
    response: Response = current_server().create_endpoint_response("revocation")
    return response


@routes.get("/.well-known/oauth-authorization-server")
def metadata() -> dict[str, Any]:
    """RFC 8414."""
    origin = current_server().issuer
    methods = [*WITH_SECRET, "none"]
    return {
        "issuer": origin,
        "authorization_endpoint": f"{origin}{AUTHORIZE}",
        "token_endpoint": f"{origin}/oauth2/access-token",
        "device_authorization_endpoint": f"{origin}/oauth2/device-authorization",
        "introspection_endpoint": f"{origin}/oauth2/introspect",
        "revocation_endpoint": f"{origin}/oauth2/revoke",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_CODE],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": list(WITH_SECRET),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }
