"""The description of the REST interface, as it holds for the service of these tests."""

from copy import deepcopy
from typing import Any

from buildsrht.api.description import describe
from buildsrht.api.schemas import COMPONENTS

# What a request takes may have keys that are not described; what is answered may not.
TAKEN = {"Submission", "NewGroup", "Trigger", "GraphQLRequest", "GraphQLUpload", "Metadata"}


def description() -> dict[str, Any]:
    """The document, in which no object has a key more than is described."""
    document = deepcopy(describe("http://localhost"))
    for name in COMPONENTS.keys() - TAKEN:
        _close(document["components"]["schemas"][name])
    return document


def _close(schema: Any) -> None:
    for part in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(part, dict | list):
            _close(part)
    if isinstance(schema, dict) and "properties" in schema:
        schema["additionalProperties"] = False
