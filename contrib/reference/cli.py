"""The commands as a page, each as its `--help` has it."""

import inspect
from collections.abc import Iterator

import click

from contrib.reference import markdown
from contrib.reference.markdown import code, items, link, table

PROGRAM = "buildsrht"
INTRODUCTION = """\
Every command, as its `--help` describes it. [clients.md](../clients.md) is about those that talk to
a server, [operating.md](../operating.md) about those that run one."""
# Before a paragraph whose lines stay as they are.
AS_IT_IS = "\b\n"


def page(group: click.Group) -> str:
    found = list(_commands(group, click.Context(group, info_name=PROGRAM)))
    contents = items(link(f"`{context.command_path}`", context.command_path) for context in found)
    parts = [part for context in found for part in _entry(context)]
    return markdown.page("Commands", INTRODUCTION, [contents, *parts])


def _commands(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """Each command that does something, in the order of their names."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
        else:
            yield inner


def _entry(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## `{context.command_path}`"
    yield code(" ".join([context.command_path, *command.collect_usage_pieces(context)]))
    yield _help(command.help or "")
    records = [
        parameter.get_help_record(context)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    rows = [(f"`{record[0]}`", record[1]) for record in records if record]
    yield table(("option", "meaning"), rows)


def _help(text: str) -> str:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        code(each.removeprefix(AS_IT_IS)) if each.startswith(AS_IT_IS) else each
        for each in paragraphs
    )
