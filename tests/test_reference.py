"""docs/reference says what the schema, the description, the commands and the options are now."""

from dataclasses import fields

import pytest
from graphql import build_schema, is_introspection_type, is_specified_scalar_type

from buildsrht.api.description import PATHS
from buildsrht.cli import commands
from buildsrht.config import SECTIONS
from contrib.reference import PLACE, ROOT, graphql, pages
from contrib.reference.markdown import table

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_fresh(name):
    path = PLACE / name
    committed = path.read_text() if path.exists() else ""
    assert committed == PAGES[name], f"docs/reference/{name} is out of date: run `make reference`"


def test_there_is_no_page_besides():
    assert {path.name for path in PLACE.iterdir()} == set(PAGES)


def test_every_type_and_field_of_the_schema_is_there():
    schema = build_schema((ROOT / "buildsrht/graphql/schema.graphqls").read_text())
    page = PAGES["graphql.md"]
    roots = {"Query", "Mutation"}
    for name, kind in schema.type_map.items():
        if is_introspection_type(kind) or is_specified_scalar_type(kind):
            continue
        if name not in roots:
            assert f"\n### {name}\n" in page
        for field in getattr(kind, "fields", {}):
            assert (f"\n### {name}.{field}\n" if name in roots else f"| `{field}") in page


def test_every_route_is_there():
    page = PAGES["rest.md"]
    for path, operations in PATHS.items():
        for method in operations:
            assert f"\n### `{method.upper()} {path}`\n" in page


def test_every_command_is_there():
    for name in names(commands, "buildsrht"):
        assert f"\n## `{name}`\n" in PAGES["cli.md"]


def names(command, path):
    inner = getattr(command, "commands", {})
    return [name for each in inner for name in names(inner[each], f"{path} {each}")] or [path]


def test_every_option_is_there():
    for section, kind in SECTIONS.items():
        assert f"\n## `[{section}]`\n" in PAGES["configuration.md"]
        for option in fields(kind):
            assert f"\n| `{option.name}` |" in PAGES["configuration.md"]


# --- what a page is made of -----------------------------------------------------------------------


def test_a_field_says_what_it_needs_and_that_it_is_ours():
    page = graphql.page("""
        type Query {
          "Beyond builds.sr.ht: all of it"
          everything(after: Time!): [Time!] @access(scope: JOBS, kind: RO)
        }
        type Mutation { nothing: Int }
        scalar Time
    """)

    assert "### Query.everything\n\n**+** All of it.\n" in page
    assert "- answers \\[[Time](#time)!\\]\n- needs `JOBS:RO`" in page
    assert "| `after` | [Time](#time)! |" in page


def test_a_bar_does_not_end_a_cell():
    assert table(("a",), [("one | two\nthree",)]).endswith("| one \\| two three |")
