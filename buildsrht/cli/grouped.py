"""The list of commands in two parts, as two kinds of people need it."""

from collections.abc import Iterable, Sequence
from types import ModuleType

import click


class GroupedCommands(click.Group):
    """Knows of each command which part of the list it stands in."""

    def __init__(self, *arguments: object, **options: object):
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.parts: dict[str, list[click.Command]] = {}

    def add_part(self, title: str, modules: Iterable[ModuleType]) -> None:
        commands: Sequence[click.Command] = [each for part in modules for each in part.COMMANDS]
        self.parts[title] = sorted(commands, key=lambda command: command.name or "")
        for command in commands:
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(name) for name in self.commands)
        for title, commands in self.parts.items():
            limit = formatter.width - 6 - width
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (f"{command.name:{width}}", command.get_short_help_str(limit))
                        for command in commands
                        if not command.hidden
                    ]
                )
