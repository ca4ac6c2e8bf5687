"""`/query`: GraphQL over HTTP.

An answer is 200 when the body is a GraphQL request, whatever its errors; 400 when it is none. Every
answer, refusals of a token included, has the shape that GraphQL clients expect.
"""

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from buildsrht.api import fields, uploads
from buildsrht.backend import OUTAGES, Backend
from buildsrht.errors import BadInput, TooMany
from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.models import Token
from buildsrht.oauth import TokenRefused, acting_token
from buildsrht.services.grants import client_id_of
from buildsrht.services.tokens import user_of
from buildsrht.serving import RETRY_SECONDS, current_backend, log_outage

routes = Blueprint("query", __name__, url_prefix="/query")


@routes.post("")
def answer() -> ResponseReturnValue:
    token = acting_token(None)
    backend = current_backend()
    return execute(backend, _asker(backend, token), _read_request(backend))


def _asker(backend: Backend, token: Token) -> Asker:
    return Asker(
        user=user_of(token),
        scopes=tuple(token.scopes),
        client_id=client_id_of(backend, token),
        token_id=token.id,
    )


def _read_request(backend: Backend) -> Request:
    if uploads.is_multipart():
        body = fields.Fields(uploads.read_operations(backend.config.limits))
    else:
        body = fields.Fields(fields.json_object())
    query = body.required("query", fields.anything_of(str, "a string"))
    variables = body.optional("variables", fields.anything_of(dict, "an object"), default={})
    operation = body.optional("operationName", fields.anything_of(str, "a string"))
    body.insist()
    return Request(query, variables, operation)


# --- errors -----------------------------------------------------------------------------------


def _refused(message: str, code: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


@routes.errorhandler(TokenRefused)
def _no_token(error: TokenRefused) -> ResponseReturnValue:
    return _refused(str(error), "UNAUTHORIZED"), 401, {"WWW-Authenticate": error.challenge}


@routes.errorhandler(BadInput)
def _no_request(error: BadInput) -> ResponseReturnValue:
    return {
        "errors": [
            {"message": f"{field}: {reason}", "extensions": {"code": "BAD_REQUEST", "field": field}}
            for field, reason in error.errors
        ]
    }, 400


@routes.errorhandler(TooMany)
def _too_many(error: TooMany) -> ResponseReturnValue:
    return _refused(str(error), "LIMIT"), 429, {"Retry-After": str(error.seconds)}


@routes.errorhandler(HTTPException)
def _http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    code = {413: "LIMIT", 500: "INTERNAL"}.get(status, "BAD_REQUEST")
    return _refused(error.description or error.name, code), status


def _unavailable(error: Exception) -> ResponseReturnValue:
    retry = {"Retry-After": str(RETRY_SECONDS)}
    return _refused(log_outage(error), "UNAVAILABLE"), 503, retry


for outage in OUTAGES:
    routes.register_error_handler(outage, _unavailable)
