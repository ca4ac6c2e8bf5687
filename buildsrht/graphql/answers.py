"""What a user's webhook is told: its query's answer, as the text that is sent.

A query that fails is answered like any other: its owner reads in the answer why. Only what is our
own fault, and passes, is no answer.
"""

import json
from typing import Any

from graphql import GraphQLSchema

from buildsrht.backend import Backend
from buildsrht.graphql import engine
from buildsrht.graphql.context import Asker, Context
from buildsrht.services.webhooks import Occasion

# It is kept for as long as the delivery is on record.
MOST_BYTES = 1024 * 1024


class NoAnswer(Exception):
    """The database or the queue did not answer; later they may."""


def answer(schema: GraphQLSchema, backend: Backend, occasion: Occasion) -> str:
    """JSON, as `POST /query` would have it. Raises NoAnswer."""
    asker = Asker(occasion.user, occasion.scopes, client_id=occasion.webhook.client_id)
    context = Context(backend, asker, occasion.payload)
    response = engine.run(schema, context, engine.Request(occasion.webhook.query))
    if unavailable := [error for error in response.get("errors", ()) if _is_outage(error)]:
        raise NoAnswer(unavailable[0]["message"])
    text = json.dumps(response, ensure_ascii=False)
    return text if len(text.encode()) <= MOST_BYTES else _too_long()


def _is_outage(error: dict[str, Any]) -> bool:
    return bool(error["extensions"]["code"] == "UNAVAILABLE")


def _too_long() -> str:
    reason = f"what the query finds has more than {MOST_BYTES:,} bytes"
    error = {"message": reason, "extensions": {"code": "LIMIT"}}
    return json.dumps({"data": None, "errors": [error]})
