"""Read YAML into nodes that know their line and column.

Made for text from strangers. Nothing is constructed but strings; nesting is bounded, and so is
what aliases expand to; the time it takes is in proportion to the text. A node that cannot be
used is noted and becomes a `BadNode`, and reading goes on behind it. Only broken syntax, too
deep nesting and too much expansion end it.

Knows nothing of manifests.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml
from yaml import events

from buildsrht.manifest.problems import Place, Report, child, shown

MAX_DEPTH = 16
MAX_NODES = 16_384  # with aliases expanded; without any, a manifest hardly has room for more

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_TAG + kind: kind for kind in ("str", "bool", "int", "float", "null", "merge")}
_LIST_TAGS = (None, "!", _TAG + "seq")
_MAP_TAGS = (None, "!", _TAG + "map")

Event = Any  # PyYAML's type stubs promise less of an event than the parser keeps
_resolver = yaml.resolver.Resolver()


@dataclass(frozen=True)
class Node:
    """Anything that YAML can say, and where it is said."""

    place: Place


@dataclass(frozen=True)
class ScalarNode(Node):
    """A single value: `text` as it was written, `kind` as YAML 1.1 understands it.

    A date is a string here, as in YAML 1.2.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class ListNode(Node):
    """A sequence."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class MapNode(Node):
    """A mapping, merge keys applied. A key is a string not seen before, or a BadNode."""

    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class BadNode(Node):
    """Stands where a node was refused: there is nothing more to say about it."""


def read_document(text: str, report: Report) -> Node:
    """Return the root of the one document in `text`, or raise Refused."""
    _refuse_unprintable(text, report)
    # The parser in C is some fifteen times faster than the one in Python, which also lets an
    # OverflowError out for the escape "\UFFFFFFFF". Only events are used: the composer that
    # PyYAML puts on top of them recurses without limit.
    stream = yaml.parse(text, Loader=yaml.CSafeLoader)
    try:
        return _Composer(stream, report).document()
    except yaml.MarkedYAMLError as error:
        report.refuse("", _place(error.problem_mark), f"not valid YAML: {_explained(error)}")


def _explained(error: yaml.MarkedYAMLError) -> str:
    said = " ".join(part for part in (error.problem, error.context) if part)
    # An open quote or bracket is noticed far behind the line that has to be mended.
    begin, end = error.context_mark, error.problem_mark
    if begin and end and begin.line != end.line:
        said += f" that begins on line {begin.line + 1}"
    return said


def _refuse_unprintable(text: str, report: Report) -> None:
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        before = text[: found.start()]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        report.refuse("", place, f"not valid YAML: the character {found[0]!a} is not allowed")


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


@dataclass(frozen=True)
class _Anchored:
    node: Node
    size: int  # in nodes, aliases below it expanded


class _Composer:
    """Builds nodes from parser events, by recursive descent no deeper than MAX_DEPTH."""

    def __init__(self, stream: Iterator[Event], report: Report):
        self._stream = stream
        self._report = report
        self._anchors: dict[str, _Anchored | None] = {}  # None while the node is incomplete
        self._nodes = 0

    def document(self) -> Node:
        next(self._stream)  # the start of the stream
        start = next(self._stream)
        if isinstance(start, events.StreamEndEvent):
            return ScalarNode(_place(start.start_mark), "null", "")
        root = self._node("", next(self._stream), depth=1)
        next(self._stream)  # the end of the document
        end = next(self._stream)
        if not isinstance(end, events.StreamEndEvent):
            self._report.note("", _place(end.start_mark), "a second YAML document begins here")
        return root

    def _node(self, path: str, event: Event, depth: int) -> Node:
        place = _place(event.start_mark)
        if isinstance(event, events.AliasEvent):
            return self._aliased(path, place, event)
        if depth > MAX_DEPTH:
            self._report.refuse(path, place, f"nested more than {MAX_DEPTH} levels deep")

        before = self._nodes
        if event.anchor:
            self._anchors[event.anchor] = None
        self._spend(path, place, 1)
        node = self._content(path, place, event, depth)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(node, self._nodes - before)
        return node

    def _aliased(self, path: str, place: Place, event: Event) -> Node:
        name = event.anchor
        if name not in self._anchors:
            return self._bad(path, place, f"the alias *{name} has no anchor before it")
        anchored = self._anchors[name]
        if anchored is None:
            return self._bad(path, place, f"the alias *{name} stands inside its own anchor")
        # The node is shared, so expanding it is free here; but whoever reads the document will
        # visit it once for every alias, and that is what the budget bounds.
        self._spend(path, place, anchored.size)
        return replace(anchored.node, place=place)

    def _spend(self, path: str, place: Place, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._report.refuse(path, place, f"expands to more than {MAX_NODES:,} values")

    def _content(self, path: str, place: Place, event: Event, depth: int) -> Node:
        if isinstance(event, events.ScalarEvent):
            return self._scalar(path, place, event)
        if isinstance(event, events.SequenceStartEvent):
            node, tags = self._list(path, place, depth), _LIST_TAGS
        else:
            node, tags = self._map(path, place, depth), _MAP_TAGS
        return node if event.tag in tags else self._bad_tag(path, place, event.tag)

    def _scalar(self, path: str, place: Place, event: Event) -> Node:
        if "\0" in event.value:
            return self._bad(path, place, "may not contain a NUL character")
        if event.tag == "!":
            return ScalarNode(place, "str", event.value)
        if event.tag is None:
            tag = _resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
            return ScalarNode(place, _SCALAR_TAGS.get(tag, "str"), event.value)
        if event.tag in _SCALAR_TAGS:
            return ScalarNode(place, _SCALAR_TAGS[event.tag], event.value)
        return self._bad_tag(path, place, event.tag)

    def _list(self, path: str, place: Place, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._stream), events.SequenceEndEvent):
            items.append(self._node(f"{path}[{len(items)}]", event, depth + 1))
        return ListNode(place, tuple(items))

    def _map(self, path: str, place: Place, depth: int) -> Node:
        own: list[tuple[Node, Node]] = []
        merged: list[tuple[Node, Node]] = []
        names: set[str] = set()
        while not isinstance(event := next(self._stream), events.MappingEndEvent):
            key = self._node(path, event, depth + 1)
            value_path = child(path, key.text) if isinstance(key, ScalarNode) else path
            value = self._node(value_path, next(self._stream), depth + 1)
            if isinstance(key, ScalarNode) and key.kind == "merge":
                merged += self._merged(value_path, value)
            else:
                own.append((self._key(path, key, names), value))
        # Written keys win over merged ones, and earlier merges over later ones.
        for key, value in merged:
            if isinstance(key, ScalarNode) and key.text not in names:
                names.add(key.text)
                own.append((key, value))
        return MapNode(place, tuple(own))

    def _key(self, path: str, key: Node, names: set[str]) -> Node:
        if isinstance(key, BadNode):
            return key
        if not isinstance(key, ScalarNode):
            return self._bad(path, key.place, "a key must be a string, not a list or a mapping")
        if key.kind != "str":
            said = f"the key {shown(key.text)} is {key.kind} to YAML, not a string; quote it"
            return self._bad(path, key.place, said)
        if key.text in names:
            return self._bad(child(path, key.text), key.place, "given twice")
        names.add(key.text)
        return key

    def _merged(self, path: str, value: Node) -> Iterator[tuple[Node, Node]]:
        for part in value.items if isinstance(value, ListNode) else (value,):
            if isinstance(part, MapNode):
                yield from part.entries
            elif not isinstance(part, BadNode):
                self._report.note(path, part.place, "only mappings can be merged")

    def _bad_tag(self, path: str, place: Place, tag: str) -> Node:
        return self._bad(
            path, place, f"the tag {shown(tag.replace(_TAG, '!!'))} is not allowed here"
        )

    def _bad(self, path: str, place: Place, reason: str) -> Node:
        self._report.note(path, place, reason)
        return BadNode(place)
