"""The GraphQL schema as a page: what can be asked, what it needs, and what comes back."""

from collections.abc import Iterable, Iterator
from typing import Any

from graphql import (
    DirectiveNode,
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InputObjectTypeDefinitionNode,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    TypeNode,
    parse,
    print_ast,
)

from contrib.reference import markdown
from contrib.reference.markdown import items, link, sentence, table

INTRODUCTION = """\
Everything that `POST /query` can be asked. [graphql.md](../graphql.md) says how to ask.

- [Queries](#queries), [mutations](#mutations)
- [Objects](#objects), [inputs](#inputs), [words](#words), [scalars](#scalars)

**+** marks what builds.sr.ht does not have, where introspection says "Beyond builds.sr.ht". A field
that *needs* a grant is answered to tokens that have it; `RW` includes `RO`. `!` stands behind what
is never null."""

BEYOND = "Beyond builds.sr.ht"
ROOTS = {"Query": "Queries", "Mutation": "Mutations"}
BUILT_IN = ("Int", "Float", "String", "Boolean", "ID")


def page(text: str) -> str:
    nodes = parse(text).definitions
    types = {node.name.value: node for node in nodes if hasattr(node, "name")}
    return markdown.page("GraphQL", INTRODUCTION, _parts(types))


def _parts(types: dict[str, Any]) -> Iterator[str]:
    for root, title in ROOTS.items():
        yield f"## {title}"
        for field in types[root].fields:
            yield from _entry(root, field)
    sections = (
        ("Objects", (ObjectTypeDefinitionNode, InterfaceTypeDefinitionNode), _object),
        ("Inputs", (InputObjectTypeDefinitionNode,), _input),
        ("Words", (EnumTypeDefinitionNode,), _enum),
        ("Scalars", (ScalarTypeDefinitionNode,), _described),
    )
    for title, kinds, show in sections:
        yield f"## {title}"
        for name, node in types.items():
            if isinstance(node, kinds) and name not in ROOTS:
                yield f"### {name}"
                yield from show(node)


# --- what can be asked ----------------------------------------------------------------------------


def _entry(root: str, field: FieldDefinitionNode) -> Iterator[str]:
    name = field.name.value
    yield f"### {root}.{name}"
    yield sentence(_text(field))
    grant = _grant(field.directives)
    yield items(
        [
            f"answers {_type(field.type)}",
            f"needs `{grant}`" if grant else "needs any token",
        ]
    )
    yield _arguments(field.arguments)


def _arguments(arguments: Iterable[InputValueDefinitionNode] | None) -> str:
    rows = [(f"`{each.name.value}`", _type(each.type), _text(each)) for each in arguments or ()]
    return table(("argument", "type", "meaning"), rows)


# --- types ----------------------------------------------------------------------------------------


def _object(node: ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode) -> Iterator[str]:
    yield from _described(node)
    if node.interfaces:
        yield f"Implements {', '.join(link(each.name.value) for each in node.interfaces)}."
    rows = [
        (_signature(field), _type(field.type), _needed(field), _text(field))
        for field in node.fields
    ]
    yield table(("field", "type", "needs", "meaning"), rows)


def _signature(field: FieldDefinitionNode) -> str:
    arguments = ", ".join(
        f"{each.name.value}: {print_ast(each.type)}" for each in field.arguments or ()
    )
    return f"`{field.name.value}({arguments})`" if arguments else f"`{field.name.value}`"


def _needed(field: FieldDefinitionNode) -> str:
    grant = _grant(field.directives)
    return f"`{grant}`" if grant else ""


def _input(node: InputObjectTypeDefinitionNode) -> Iterator[str]:
    yield from _described(node)
    rows = [(f"`{field.name.value}`", _type(field.type), _text(field)) for field in node.fields]
    yield table(("field", "type", "meaning"), rows)


def _enum(node: EnumTypeDefinitionNode) -> Iterator[str]:
    yield from _described(node)
    yield table(
        ("word", "meaning"), [(f"`{value.name.value}`", _text(value)) for value in node.values]
    )


def _described(node: Any) -> Iterator[str]:
    yield sentence(_text(node))


# --- pieces ---------------------------------------------------------------------------------------


def _text(node: Any) -> str:
    """Its description, with a mark in place of the words that say where it goes further."""
    text = " ".join(node.description.value.split("\n")) if node.description else ""
    if not text.startswith(BEYOND):
        return text
    said = text.removeprefix(BEYOND).removeprefix(":").strip()
    return f"**+** {said[:1].upper()}{said[1:]}".strip()


def _type(node: TypeNode) -> str:
    if isinstance(node, NonNullTypeNode):
        return f"{_type(node.type)}!"
    if isinstance(node, ListTypeNode):
        return f"\\[{_type(node.type)}\\]"
    name = node.name.value
    return name if name in BUILT_IN else link(name)


def _grant(directives: Iterable[DirectiveNode] | None) -> str | None:
    for directive in directives or ():
        if directive.name.value == "access":
            return ":".join(argument.value.value for argument in directive.arguments)
    return None
