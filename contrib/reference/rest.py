"""The OpenAPI document as a page."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from contrib.reference import markdown
from contrib.reference.markdown import link, sentence, table

INTRODUCTION = """\
Every route for programs, as `GET /api/openapi.json` describes it. [api.md](../api.md) says more,
and has examples.

- [Routes](#routes), and why they [refuse](#refusals)
- [Objects](#objects)"""

# What is said of every string is not said of each.
TEXT_PATTERN = r"^[^\x00]*$"


def page(document: dict[str, Any]) -> str:
    return markdown.page("REST", INTRODUCTION, _parts(document))


def _parts(document: dict[str, Any]) -> Iterator[str]:
    yield "## Routes"
    refusals: dict[str, str] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"### `{method.upper()} {path}`"
            yield from _operation(operation)
            refusals = _refusals(operation) | refusals
    yield "## Refusals"
    yield f"Answered with {link('Errors')}; those of GraphQL with {link('GraphQLAnswer')}."
    yield table(
        ("answer", "when"), [(_status(status), refusals[status]) for status in sorted(refusals)]
    )
    yield "## Objects"
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name}"
        yield sentence(schema.get("description", ""))
        yield table(("key", "type", "meaning"), _fields(schema))


# --- routes ---------------------------------------------------------------------------------------


def _operation(operation: dict[str, Any]) -> Iterator[str]:
    yield sentence(operation["summary"])
    yield _tokens(operation["security"])
    rows = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), _meaning(each))
        for each in operation["parameters"]
    ]
    yield table(("parameter", "in", "type", "meaning"), rows)
    if "requestBody" in operation:
        rows = [
            (f"`{media_type}`", _body(content["schema"]))
            for media_type, content in operation["requestBody"]["content"].items()
        ]
        yield table(("body", "type"), rows)
    refusals = _refusals(operation)
    rows = [
        (_status(status), _content(answer), answer["description"])
        for status, answer in operation["responses"].items()
        if status not in refusals
    ]
    yield table(("answer", "type", "meaning"), rows)
    if refusals:
        yield f"{link('Refused', 'Refusals')} with {_listed(sorted(refusals))}."


def _body(schema: dict[str, Any]) -> str:
    """An object that has no name is told by its keys."""
    needed = schema.get("required", ())
    keys = [
        f"`{name}`" if name in needed else f"`{name}` (optional)"
        for name in schema.get("properties", ())
    ]
    return ", ".join(keys) or _type(schema)


def _refusals(operation: dict[str, Any]) -> dict[str, str]:
    return {
        status: answer["description"]
        for status, answer in operation["responses"].items()
        if int(status) >= HTTPStatus.BAD_REQUEST
    }


def _status(status: str) -> str:
    return f"{status} {HTTPStatus(int(status)).phrase}"


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0]


def _tokens(alternatives: list[dict[str, list[str]]]) -> str:
    if any("client" in each for each in alternatives):
        return f"A client's name, and its secret{' if it has one' if {} in alternatives else ''}."
    scopes = [scope for each in alternatives for scopes in each.values() for scope in scopes]
    if alternatives == [{}]:
        return "No token."
    if not scopes:
        return "Any token."
    scope = f"scope `{scopes[0]}`"
    return f"No token, or one with the {scope}." if {} in alternatives else f"A token, {scope}."


def _meaning(parameter: dict[str, Any]) -> str:
    text = parameter.get("description", parameter["schema"].get("description", ""))
    return ", ".join(filter(None, [text, *_limits(parameter["schema"])]))


def _content(answer: dict[str, Any]) -> str:
    return ", ".join(
        _type(content["schema"]) if "$ref" in content["schema"] else f"`{media_type}`"
        for media_type, content in answer.get("content", {}).items()
    )


# --- objects --------------------------------------------------------------------------------------


def _fields(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, str, str]]:
    """A row for each key, and for those of the objects in it."""
    needed = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        mark = "" if name in needed else " (optional)"
        meaning = ", ".join(filter(None, [field.get("description", ""), *_limits(field)]))
        yield f"`{place}{name}`{mark}", _type(field), meaning
        yield from _fields(field.get("items", {}), f"{place}{name}[].")
        yield from _fields(field, f"{place}{name}.")


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return link(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " or ".join(f"`{_word(word)}`" for word in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kinds = schema.get("type", "anything")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(_kind(kind, schema) for kind in kinds)


def _word(word: str | None) -> str:
    return "null" if word is None else word


def _kind(kind: str, schema: dict[str, Any]) -> str:
    if kind == "array" and "items" in schema:
        return f"array of {_type(schema['items'])}"
    if kind == "string" and "format" in schema:
        return schema["format"]
    return kind


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    items = schema.get("items", {})
    if "maxLength" in schema:
        yield f"at most {schema['maxLength']} characters"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']}"
    if "maxLength" in items:
        yield f"each of at most {items['maxLength']} characters"
    for pattern in (schema.get("pattern"), items.get("pattern")):
        if pattern and pattern != TEXT_PATTERN:
            yield f"`{pattern}`"
