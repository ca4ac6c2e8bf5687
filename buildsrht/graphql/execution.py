"""The way in for those who serve: the engine, with the schema that this service has."""

from typing import Any

from buildsrht.backend import Backend
from buildsrht.graphql import engine
from buildsrht.graphql.answers import NoAnswer, answer
from buildsrht.graphql.context import Asker, Context
from buildsrht.graphql.engine import Request
from buildsrht.graphql.schema import SCHEMA
from buildsrht.services.webhooks import Occasion

__all__ = ["Asker", "NoAnswer", "Request", "check_webhook_query", "execute", "tell_webhook"]


def execute(backend: Backend, asker: Asker, request: Request) -> dict[str, Any]:
    """The response to a request of `asker`'s."""
    return engine.run(SCHEMA, Context(backend, asker), request)


def check_webhook_query(text: str) -> None:
    """Raise BadInput naming `query` unless it is one query that a webhook may have."""
    engine.check_webhook_query(SCHEMA, text)


def tell_webhook(backend: Backend, occasion: Occasion) -> str:
    """What a user's webhook is told, as JSON. Raises NoAnswer."""
    return answer(SCHEMA, backend, occasion)
