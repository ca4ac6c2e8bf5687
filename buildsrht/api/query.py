"""`/query`: GraphQL over HTTP.

An answer is 200 when the body is a GraphQL request, whatever its errors; 400 when it is none. Every
answer, refusals of a token included, has the shape that GraphQL clients expect.
"""

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from buildsrht.api import fields
from buildsrht.api.context import current_backend
from buildsrht.errors import BadInput
from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.models import Token
from buildsrht.oauth import TokenRefused, acting_token
from buildsrht.services.tokens import user_of

routes = Blueprint("query", __name__, url_prefix="/query")


@routes.post("")
def answer() -> ResponseReturnValue:
    token = acting_token(None)
    request = _read_request(fields.json_object())
    return execute(current_backend(), _asker(token), request)


def _asker(token: Token) -> Asker:
    return Asker(user_of(token), tuple(token.scopes), client_id=None, token_id=token.id)


def _read_request(document: dict[str, Any]) -> Request:
    body = fields.Fields(document)
    query = body.required("query", fields.anything_of(str, "a string"))
    variables = body.optional("variables", fields.anything_of(dict, "an object"), default={})
    operation = body.optional("operationName", fields.anything_of(str, "a string"))
    body.insist()
    return Request(query, variables, operation)


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


@routes.errorhandler(HTTPException)
def _http_error(error: HTTPException) -> ResponseReturnValue:
    code = "LIMIT" if error.code == 413 else "BAD_REQUEST"
    return _refused(error.description or error.name, code), error.code or 500


def _refused(message: str, code: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}
