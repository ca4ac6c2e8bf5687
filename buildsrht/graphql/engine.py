"""A request's text becomes a response, as the GraphQL specification has it, by any schema of ours.

Every way in passes the same stations: parsed within limits, validated, and resolved field by field
until the deadline. Nothing that a client sends makes these functions raise. Which schema that is
resolvers know from `info.schema`, and everybody else from buildsrht.graphql.execution.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    MiddlewareManager,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    execute_sync,
    parse,
    validate,
)
from sqlalchemy.exc import SQLAlchemyError

from buildsrht.errors import BadInput, FieldError
from buildsrht.graphql import limits, texts
from buildsrht.graphql.context import Context, LimitExceeded
from buildsrht.graphql.errors import show_errors

MOST_TOKENS = 2000
MOST_CHARACTERS = 64 * 1024
MOST_ERRORS = 20


@dataclass(frozen=True)
class Request:
    """What a client asks. `variables` has the files that came with the request in their places."""

    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    operation_name: str | None = None


def run(schema: GraphQLSchema, context: Context, request: Request) -> dict[str, Any]:
    """The response to a request. The context is closed afterwards."""
    try:
        document = _understand(schema, request.query)
    except _Refused as refused:
        return {"errors": show_errors(refused.errors)}
    try:
        result = execute_sync(
            schema,
            document,
            context_value=context,
            variable_values=dict(request.variables),
            operation_name=request.operation_name,
            middleware=MIDDLEWARE,
        )
        return _response(result)
    finally:
        context.close()


def check_webhook_query(schema: GraphQLSchema, text: str) -> None:
    """Raise BadInput naming `query` unless it is one query that a webhook may have."""
    try:
        document = _understand(schema, text)
    except _Refused as refused:
        raise BadInput(FieldError("query", error.message) for error in refused.errors) from None
    operations = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode)
    ]
    if len(operations) != 1 or operations[0].operation != OperationType.QUERY:
        raise BadInput([FieldError("query", "must be exactly one query, and no mutation")])
    if any(
        isinstance(variable.type, NonNullTypeNode) and variable.default_value is None
        for variable in operations[0].variable_definitions or ()
    ):
        raise BadInput([FieldError("query", "may have no variables that somebody has to fill in")])


class _Refused(Exception):
    """A text that is no query of ours; nothing was done."""

    def __init__(self, errors: list[GraphQLError]):
        self.errors = errors


def _understand(schema: GraphQLSchema, text: str) -> DocumentNode:
    """The document, which is valid and within its limits. Raises _Refused."""
    try:
        document = parse(text, max_lexical_tokens=MOST_TOKENS, max_source_length=MOST_CHARACTERS)
        limits.check(schema, document)
    except GraphQLError as error:
        raise _Refused([error]) from None
    except LimitExceeded as error:
        raise _Refused([GraphQLError(str(error), original_error=error)]) from None
    errors = validate(schema, document, max_errors=MOST_ERRORS)
    if errors:
        raise _Refused(errors)
    return document


def _response(result: ExecutionResult) -> dict[str, Any]:
    response: dict[str, Any] = {"data": result.data}
    if result.errors:
        response["errors"] = show_errors(result.errors)
    return response


def _before_each_field(resolve: Any, source: Any, info: Any, **arguments: Any) -> Any:
    context: Context = info.context
    texts.check(arguments)
    if info.parent_type is info.schema.mutation_type:
        with context.changing():
            return resolve(source, info, **arguments)
    context.check_deadline()
    try:
        found = resolve(source, info, **arguments)
    except SQLAlchemyError:
        # The transaction is broken; other fields shall have another one.
        context.close()
        raise
    if isinstance(found, str):
        context.count_text(found)
    return found


MIDDLEWARE = MiddlewareManager(_before_each_field)
