"""The options as a page: their defaults from the code, their meaning from the example."""

import re
from collections.abc import Iterator
from dataclasses import Field, fields

from buildsrht.config import SECTIONS
from contrib.reference import markdown
from contrib.reference.markdown import items, link, table

INTRODUCTION = """\
Every option of the file that the variable `BUILDSRHT_CONFIG` names, with its default.
[config.example.ini](../../config.example.ini) has the same as a file, and
[operating.md](../operating.md) says when to change what. Durations end in `s`, `m`, `h` or `d`,
sizes in `KiB`, `MiB` or `GiB`."""

OPTION = re.compile(r"((?:^#.*\n)*)^(\w+) =.*$", re.MULTILINE)


def page(example: str) -> str:
    contents = items(link(f"`[{section}]`", section) for section in SECTIONS)
    return markdown.page("Configuration", INTRODUCTION, [contents, *_parts(example)])


def _parts(example: str) -> Iterator[str]:
    for section, kind in SECTIONS.items():
        meanings = _meanings(example, section)
        yield f"## `[{section}]`"
        yield table(
            ("option", "default", "meaning"),
            [(f"`{each.name}`", _default(each), meanings[each.name]) for each in fields(kind)],
        )


def _default(option: Field) -> str:
    default = option.metadata["default"]
    return f"`{default}`" if default else ""


def _meanings(example: str, section: str) -> dict[str, str]:
    """What the comment above each option of a section says."""
    text = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", example, re.MULTILINE | re.DOTALL)
    assert text, f"config.example.ini has no [{section}]"
    return {
        name: " ".join(line.lstrip("# ") for line in comment.splitlines())
        for comment, name in OPTION.findall(text[1])
    }
