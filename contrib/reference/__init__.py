"""The reference pages of docs/reference, made from what they are about.

`pages()` is pure: it reads the schema, the description, the commands and the example configuration,
and returns text. `python -m contrib.reference` (`make reference`) writes it down; a test compares.

    markdown        headings, tables, links
    graphql, rest, cli, configuration
                    one page each
"""

from pathlib import Path

from buildsrht.api.description import describe
from buildsrht.cli import commands
from contrib.reference import cli, configuration, graphql, rest

ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = ROOT / "docs/reference"
# As `make run` has it.
ORIGIN = "http://127.0.0.1:5002"


def pages() -> dict[str, str]:
    """The text of each page by the name of its file."""
    schema = (ROOT / "buildsrht/graphql/schema.graphqls").read_text(encoding="utf-8")
    example = (ROOT / "config.example.ini").read_text(encoding="utf-8")
    return {
        "graphql.md": graphql.page(schema),
        "rest.md": rest.page(describe(ORIGIN)),
        "cli.md": cli.page(commands),
        "configuration.md": configuration.page(example),
    }
