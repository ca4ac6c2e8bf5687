"""Whether the data of a GraphQL response is what its query, by the schema, had to be answered."""

import re
from collections.abc import Iterator
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    TypeNameMetaFieldDef,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

SCALARS = {
    "Int": lambda value: type(value) is int and -(2**31) <= value < 2**31,
    "String": lambda value: isinstance(value, str),
    "Boolean": lambda value: isinstance(value, bool),
    "Cursor": lambda value: isinstance(value, str),
    "Time": lambda value: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", value),
}


def misfits(schema: GraphQLSchema, document: DocumentNode, data: Any) -> list[str]:
    """Every place where the data is not as the schema has it."""
    found = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return list(_Fitting(schema, document).of(found, data))


class _Fitting:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode):
        self._schema = schema
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }

    def of(self, operation: OperationDefinitionNode, data: Any) -> Iterator[str]:
        kind = self._schema.get_root_type(operation.operation)
        yield from self._object(operation.operation.value, kind, [operation.selection_set], data)

    def _value(self, place: str, kind: Any, nodes: list[FieldNode], data: Any) -> Iterator[str]:
        if data is None:
            if is_non_null_type(kind):
                yield f"{place} is null"
            return
        kind = get_nullable_type(kind)
        if is_list_type(kind):
            if not isinstance(data, list):
                yield f"{place} is no list"
                return
            for index, item in enumerate(data):
                yield from self._value(f"{place}[{index}]", kind.of_type, nodes, item)
        elif isinstance(kind, GraphQLEnumType):
            if data not in kind.values:
                yield f"{place} is {data!r}, which is no {kind}"
        elif is_leaf_type(kind):
            if not SCALARS[kind.name](data):
                yield f"{place} is {data!r}, which is no {kind}"
        else:
            selections = [node.selection_set for node in nodes]
            yield from self._any_object(place, kind, selections, data)

    def _any_object(
        self, place: str, kind: Any, selections: list[SelectionSetNode], data: Any
    ) -> Iterator[str]:
        if not is_abstract_type(kind):
            yield from self._object(place, kind, selections, data)
            return
        # What it is need not be said: it has to be one of those that it may be.
        attempts = [
            list(self._object(f"{place}<{each}>", each, selections, data))
            for each in self._schema.get_possible_types(kind)
        ]
        if all(attempts):
            yield from min(attempts, key=len)

    def _object(
        self, place: str, kind: Any, selections: list[SelectionSetNode], data: Any
    ) -> Iterator[str]:
        if not isinstance(data, dict):
            yield f"{place} is no object"
            return
        asked: dict[str, list[FieldNode]] = {}
        for selection in selections:
            self._collect(kind, selection, asked)
        if asked.keys() != data.keys():
            yield f"{place} has {sorted(data)} and was asked for {sorted(asked)}"
            return
        for name, nodes in asked.items():
            asked_for = nodes[0].name.value
            field = TypeNameMetaFieldDef if asked_for == "__typename" else kind.fields[asked_for]
            yield from self._value(f"{place}.{name}", field.type, nodes, data[name])

    def _collect(
        self, kind: Any, selections: SelectionSetNode, asked: dict[str, list[FieldNode]]
    ) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                name = (node.alias or node.name).value
                asked.setdefault(name, []).append(node)
                continue
            if isinstance(node, FragmentSpreadNode):
                node = self._fragments[node.name.value]
            condition = node.type_condition and self._schema.get_type(
                node.type_condition.name.value
            )
            if condition in (None, kind) or (
                is_abstract_type(condition) and self._schema.is_sub_type(condition, kind)
            ):
                self._collect(kind, node.selection_set, asked)
