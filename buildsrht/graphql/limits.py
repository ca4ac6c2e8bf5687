"""What the text of a query may ask for, counted before any of it is done.

Each field counts one, wherever fragments put it, and a mutation ten. What a list holds counts more
where that list is itself in a list: as often as a page has rows where it comes in pages, and ten
times else. Introspection, which reads no row, is counted apart.

The text need not be valid: this comes first, because to validate it may take long.
"""

from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)

from buildsrht.graphql.context import LimitExceeded
from buildsrht.graphql.pages import PAGE

COMPLEXITY = 200
INTROSPECTION = 500
DEPTH = 12
MUTATION = 10
META = {"__schema": "__Schema", "__type": "__Type"}
# About as long as the lists are that do not come in pages: a job's tasks, its artifacts.
LIST = 10


class Cost(NamedTuple):
    """What a part of a query asks for: fields, fields of introspection, and how deep it goes."""

    fields: int = 0
    introspection: int = 0
    depth: int = 0

    def beside(self, other: "Cost") -> "Cost":
        return Cost(
            self.fields + other.fields,
            self.introspection + other.introspection,
            max(self.depth, other.depth),
        )


class Place(NamedTuple):
    """Where fields stand. The type is None where the schema has none, which validation refuses."""

    kind: GraphQLNamedType | None
    in_list: bool = False


def check(schema: GraphQLSchema, document: DocumentNode) -> None:
    """Raise LimitExceeded if any part of the document asks for too much, whether it is used or
    not: all of it would have to be validated."""
    reckoning = _Reckoning(schema, document)
    try:
        costs = [reckoning.of_definition(node) for node in document.definitions]
    except RecursionError:
        raise LimitExceeded("the query is nested too deeply") from None
    for cost in costs:
        _check("its fields count", cost.fields, COMPLEXITY)
        _check("its introspection counts", cost.introspection, INTROSPECTION)
        _check("the depth of its fields is", cost.depth, DEPTH)


def _check(what: str, counted: int, limit: int) -> None:
    if counted > limit:
        said = f"{counted:,}" if counted < 10**9 else "more than anybody can count"
        raise LimitExceeded(f"the query is too large: {what} {said}, and the limit is {limit}")


class _Reckoning:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode):
        self._schema = schema
        self._fragments = {
            node.name.value: node
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        # What each fragment costs, outside and inside of lists. It is nothing while that is being
        # reckoned, for one that contains itself: validation refuses it.
        self._known: dict[tuple[str, bool], Cost] = {}

    def of_definition(self, node: object) -> Cost:
        match node:
            case OperationDefinitionNode():
                root = self._schema.get_root_type(node.operation)
                return self._of_all(node.selection_set, Place(root))
            case FragmentDefinitionNode():
                return self._of_fragment(node.name.value, in_list=False)
        return Cost()

    def _of_all(self, selections: SelectionSetNode, place: Place) -> Cost:
        total = Cost()
        for node in selections.selections:
            total = total.beside(self._of_one(node, place))
        return total

    def _of_one(self, node: SelectionNode, place: Place) -> Cost:
        match node:
            case FieldNode():
                return self._of_field(node, place)
            case FragmentSpreadNode():
                return self._of_fragment(node.name.value, place.in_list)
            case InlineFragmentNode():
                if node.type_condition:
                    place = place._replace(kind=self._type(node.type_condition.name.value))
                return self._of_all(node.selection_set, place)
        return Cost()

    def _of_fragment(self, name: str, in_list: bool) -> Cost:
        fragment = self._fragments.get(name)
        if fragment is None:
            return Cost()
        if (name, in_list) not in self._known:
            self._known[name, in_list] = Cost()
            place = Place(self._type(fragment.type_condition.name.value), in_list)
            self._known[name, in_list] = self._of_all(fragment.selection_set, place)
        return self._known[name, in_list]

    def _of_field(self, node: FieldNode, place: Place) -> Cost:
        name = node.name.value
        if name in META or _is_meta(place.kind):
            kind = self._type(META[name]) if name in META else _kind(_field(place.kind, name))
            inner = self._of_inner(node, Place(kind))
            return inner._replace(introspection=1 + inner.introspection)
        field = _field(place.kind, name)
        kind = _kind(field)
        comes_in_pages = kind is not None and kind.name.endswith("Cursor")
        is_list = field is not None and is_list_type(get_nullable_type(field.type))
        inner = self._of_inner(node, Place(kind, place.in_list or comes_in_pages or is_list))
        times = _times(place, comes_in_pages, is_list)
        own = MUTATION if place.kind is self._schema.mutation_type else 1
        return Cost(own + times * inner.fields, inner.introspection, 1 + inner.depth)

    def _of_inner(self, node: FieldNode, place: Place) -> Cost:
        return self._of_all(node.selection_set, place) if node.selection_set else Cost()

    def _type(self, name: str) -> GraphQLNamedType | None:
        return self._schema.get_type(name)


def _times(place: Place, comes_in_pages: bool, is_list: bool) -> int:
    """How often what a field holds counts."""
    if not place.in_list:
        return 1
    if comes_in_pages:
        return PAGE
    # What is in a page was counted with the page.
    is_page = place.kind is not None and place.kind.name.endswith("Cursor")
    return LIST if is_list and not is_page else 1


def _is_meta(kind: GraphQLNamedType | None) -> bool:
    return kind is not None and kind.name.startswith("__")


def _field(kind: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
        return kind.fields.get(name)
    return None


def _kind(field: GraphQLField | None) -> GraphQLNamedType | None:
    return get_named_type(field.type) if field else None
