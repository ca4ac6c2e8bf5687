"""A manifest that builds this very commit, made from the one that is in it.

The YAML is changed node by node, so that every value stays what its author wrote: `1.10` does not
become 1.1. Comments are lost. Takes texts that have been parsed as a manifest before, which bounds
what they expand to.

Knows nothing of forges.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode
from yaml.composer import Composer

from buildsrht.manifest import Manifest, Source
from buildsrht.manifest.sources import parse_source

# No line is broken for its length.
MOST_COLUMNS = 2**31 - 1
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Clone:
    """Where the commit is cloned from. `repository` is the URL that its authors know; `url` may be
    that of a fork, or the way by ssh into a private one."""

    repository: str
    name: str
    url: str
    commit: str
    is_private: bool = False

    def source(self, old: Source | None) -> str:
        """The source in place of an old one, in the old one's directory, or in the usual one."""
        url = self.url
        if old and self.is_private and not old.url.startswith(("http://", "https://")):
            url = old.url  # by ssh: its author knows better on which port
        new = f"{url}#{self.commit}"
        directory = old.directory if old else self.name
        return new if parse_source(new).directory == directory else f"{directory}::{new}"


def edit(
    text: str,
    manifest: Manifest,
    clone: Clone,
    variables: Mapping[str, str],
    *,
    keep_triggers: bool = True,
) -> str:
    """The manifest with `clone` among its sources, `variables` set, and no shell afterwards.

    Triggers send mail and requests to whomever they name, so they are for those who are known.
    """
    root = yaml.compose(text, Loader=_Loader)
    assert isinstance(root, MappingNode), "it has been parsed as a manifest"
    _put(root, "sources", _with_source(_find(root, "sources"), clone))
    _put(root, "environment", _with_variables(_find(root, "environment"), variables))
    if manifest.shell:
        _put(root, "shell", ScalarNode(f"{_TAG}bool", "false"))
    if manifest.triggers and not keep_triggers:
        _put(root, "triggers", SequenceNode(f"{_TAG}seq", [], flow_style=True))
    # Not the faster one in C: it writes 🚀 as \U0001F680, and the whole script on one line then.
    return yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=MOST_COLUMNS)


class _Loader(Composer, yaml.CSafeLoader):
    """Takes `! 1.10` for a string, as the manifest's own reader does; PyYAML's composers do not."""

    def __init__(self, text: str):
        yaml.CSafeLoader.__init__(self, text)
        Composer.__init__(self)

    def compose_scalar_node(self, anchor: dict[Any, Node]) -> ScalarNode:
        event: Any = self.peek_event()  # PyYAML's type stubs promise less of an event
        if event.tag == "!":
            event.tag = f"{_TAG}str"
        return super().compose_scalar_node(anchor)


def _with_source(sources: Node | None, clone: Clone) -> SequenceNode:
    # A copy: through an alias the same node may be something else as well.
    items = list(sources.value) if isinstance(sources, SequenceNode) else []
    known = [(item, parse_source(item.value)) for item in items]
    old = _built_source([source for _, source in known], clone)
    new = ScalarNode(f"{_TAG}str", clone.source(old))
    changed = [new if source is old else item for item, source in known]
    return SequenceNode(f"{_TAG}seq", changed if old else [*items, new], flow_style=False)


def _built_source(sources: list[Source], clone: Clone) -> Source | None:
    """The source that stands for the repository: the one with its URL, or else with its name.

    Most forges take either in upper and lower case alike, so that comes last.
    """
    git = [source for source in sources if source.scm == "git"]
    named = [source for source in git if _name(source) == clone.name]
    exact = [source for source in named if source.url.removesuffix(".git") == clone.repository]
    alike = [
        source
        for source in git
        if source.url.removesuffix(".git").lower() == clone.repository.lower()
    ]
    return next(iter([*exact, *alike, *named]), None)


def _name(source: Source) -> str:
    return source.url.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")


def _with_variables(environment: Node | None, variables: Mapping[str, str]) -> MappingNode:
    entries = environment.value if isinstance(environment, MappingNode) else []
    kept = [(key, value) for key, value in entries if key.value not in variables]
    ours = [
        (ScalarNode(f"{_TAG}str", name), ScalarNode(f"{_TAG}str", value))
        for name, value in variables.items()
    ]
    return MappingNode(f"{_TAG}map", [*kept, *ours], flow_style=False)


def _find(mapping: MappingNode, key: str) -> Node | None:
    """The value under a key; what is written wins over what is merged in."""
    for name, value in mapping.value:
        if _is_key(name, key):
            return value
    for merged in _merged(mapping):
        with suppress(KeyError):
            if found := _find(merged, key):
                return found
    return None


def _merged(mapping: MappingNode) -> Iterator[MappingNode]:
    for name, value in mapping.value:
        if name.tag == f"{_TAG}merge":
            yield from value.value if isinstance(value, SequenceNode) else [value]


def _put(mapping: MappingNode, key: str, value: Node) -> None:
    """Write a key in place of one that is written; one that is merged in yields to it."""
    for index, (name, _) in enumerate(mapping.value):
        if _is_key(name, key):
            mapping.value[index] = (name, value)
            return
    mapping.value.append((ScalarNode(f"{_TAG}str", key), value))


def _is_key(node: Node, key: str) -> bool:
    return isinstance(node, ScalarNode) and node.value == key
