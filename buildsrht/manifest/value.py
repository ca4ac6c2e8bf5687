"""What reading a manifest's keys has in common, whatever the key: strings, lists, mappings.

A *reader* is a function from a `Value` to what the manifest holds; when it cannot use the value
it notes why and raises Refused. The functions below build readers from smaller ones. They read
every member even when an earlier one was refused, so that one pass finds all problems.

Knows nothing of particular keys.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, TypeVar

from buildsrht.manifest.document import BadNode, ListNode, MapNode, Node, ScalarNode
from buildsrht.manifest.problems import Refused, Report, child, shown

T = TypeVar("T")

_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Value:
    """One value of the manifest: its path, its node, and where to note what is wrong with it."""

    path: str
    node: Node
    report: Report

    def note(self, reason: str) -> None:
        """Report a problem here and carry on."""
        self.report.note(self.path, self.node.place, reason)

    def refuse(self, reason: str) -> NoReturn:
        """Report that this value cannot be used, unless that is known already."""
        if not isinstance(self.node, BadNode):
            self.note(reason)
        raise Refused

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, ScalarNode) and self.node.kind == "null"

    @property
    def is_empty_list(self) -> bool:
        return isinstance(self.node, ListNode) and not self.node.items

    def string(self) -> str:
        """The string that this value must be."""
        if isinstance(self.node, ScalarNode) and self.node.kind == "str":
            return self.node.text
        self.refuse("must be a string")

    def boolean(self) -> bool:
        """The bool that this value must be."""
        if isinstance(self.node, ScalarNode) and self.node.kind == "bool":
            with suppress(KeyError):
                return _BOOLS[self.node.text.lower()]
        self.refuse("must be true or false")

    def items(self) -> list["Value"]:
        """The items of the list that this value must be."""
        if not isinstance(self.node, ListNode):
            self.refuse("must be a list")
        return [
            Value(f"{self.path}[{index}]", item, self.report)
            for index, item in enumerate(self.node.items)
        ]

    def entries(self) -> list[tuple["Value", "Value"]]:
        """The keys and values of the mapping that this value must be.

        What is wrong with a key is reported under the path of the mapping.
        """
        if not isinstance(self.node, MapNode):
            self.refuse("must be a mapping")
        return [
            (Value(self.path, key, self.report), self._under(key, value))
            for key, value in self.node.entries
        ]

    def members(self) -> dict[str, "Value"]:
        """The values of the mapping that this value must be; null counts as absent."""
        return {
            key.node.text: value
            for key, value in self.entries()
            if isinstance(key.node, ScalarNode) and not value.is_null
        }

    def _under(self, key: Node, value: Node) -> "Value":
        path = child(self.path, key.text) if isinstance(key, ScalarNode) else self.path
        return Value(path, value, self.report)


Reader = Callable[[Value], T]


class Unique(NamedTuple):
    """What no two items of a list may share, and what to call it."""

    name: str
    of: Callable[[Any], str]


@dataclass(frozen=True)
class Keys:
    """The keys of a mapping, and a reader for each."""

    required: dict[str, Reader[Any]] = field(default_factory=dict)
    optional: dict[str, Reader[Any]] = field(default_factory=dict)


def string_of(parse: Callable[[str], T]) -> Reader[T]:
    """Read a string by means of `parse`, which raises ValueError with the reason to refuse it."""

    def read(value: Value) -> T:
        try:
            return parse(value.string())
        except ValueError as unfit:
            value.refuse(str(unfit))

    return read


def list_of(
    read_item: Reader[T], *, limit: int | None = None, unique: Unique | None = None
) -> Reader[tuple[T, ...]]:
    """Read a list of at most `limit` items, no two alike in what is `unique`."""

    def read(value: Value) -> tuple[T, ...]:
        items = value.items()
        if limit is not None and len(items) > limit:
            value.note(f"has {len(items)} items, may have {limit}")
        sound: list[tuple[Value, T]] = []
        for item in items:
            with suppress(Refused):
                sound.append((item, read_item(item)))
        if unique:
            _note_repeats(sound, unique)
        return tuple(result for _, result in sound)

    return read


def map_of(read_key: Reader[str], read_value: Reader[T]) -> Reader[Mapping[str, T]]:
    """Read a mapping whose keys the manifest's author chooses."""

    def read(value: Value) -> Mapping[str, T]:
        found: dict[str, T] = {}
        for key, member in value.entries():
            with suppress(Refused):
                name, content = read_pair(key, member, read_key, read_value)
                found[name] = content
        return MappingProxyType(found)

    return read


def read_pair(
    key: Value, value: Value, read_key: Reader[str], read_value: Reader[T]
) -> tuple[str, T]:
    """Read one entry of a mapping."""
    try:
        name = read_key(key)
    finally:  # a bad key must not hide a bad value
        content = read_value(value)
    return name, content


def read_record(value: Value, keys: Keys) -> dict[str, Any]:
    """Read a mapping whose keys are known, and return the members that could be read.

    Other keys are ignored.
    """
    members = value.members()
    found = {}
    for name, read in (keys.required | keys.optional).items():
        if name in members:
            with suppress(Refused):
                found[name] = read(members[name])
        elif name in keys.required:
            value.report.note(child(value.path, name), value.node.place, "is required")
    return found


def _note_repeats(sound: list[tuple[Value, Any]], unique: Unique) -> None:
    first: dict[str, str] = {}
    for value, item in sound:
        shared = unique.of(item)
        if shared in first:
            value.note(f"the {unique.name} {shown(shared)} is taken by {first[shared]}")
        first.setdefault(shared, value.path)
