"""The manual page, made from the commands themselves.

`page()` is pure: it returns what `python -m contrib.man` (`make man`) writes down; a test compares.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from buildsrht.cli.grouped import GroupedCommands

PLACE = Path(__file__).resolve().parent / "buildsrht.1"
PROGRAM = "buildsrht"
# Before a paragraph whose lines stay as they are.
AS_IT_IS = "\b\n"

HEAD = r""".\" Made by `make man`; changes belong where the commands are.
.TH BUILDSRHT 1 "" "buildsrht" "User commands"
.SH NAME
buildsrht \- submit jobs to a CI job queue, and operate one
.SH SYNOPSIS
.B buildsrht
.I command
.RI [ options ]
.RI [ arguments ]
.SH DESCRIPTION
"""

TAIL = r""".SH ENVIRONMENT
.TP
.B BUILDSRHT_URL
The server to use. Without it, the one that was logged in to last, or http://127.0.0.1:5002.
.TP
.B BUILDSRHT_TOKEN
A token for it. Without one, what
.B buildsrht login
left is used.
.TP
.B BUILDSRHT_CONFIG
The configuration of a server, for those who operate one.
.TP
.BR VAR ", " PORT
Where a server without a configuration keeps its state, and listens.
.TP
.BR VISUAL ", " EDITOR
What
.B buildsrht resubmit \-\-edit
has the manifest changed with.
.SH FILES
.TP
.I $XDG_CONFIG_HOME/buildsrht/credentials.json
The tokens of
.BR "buildsrht login" .
.IR \(ti/.config ,
unless that variable is set.
.SH EXIT STATUS
.TP
.B 0
It worked; jobs that were waited for succeeded.
.TP
.B 1
It did not, or one of those jobs failed.
.TP
.B 2
The command line made no sense.
.TP
.B 3
One of those jobs ran into its time limit, and none failed.
.TP
.B 4
One of those jobs was cancelled, and that was all.
.TP
.B 130
It was interrupted.
.SH EXAMPLES
Build what is not committed yet, and watch:
.PP
.in +4n
.EX
buildsrht submit \-\-tree \-\-follow
.EE
.in
.PP
Build, and do something else only if that succeeds:
.PP
.in +4n
.EX
buildsrht submit \-\-wait build.yml && ./release
.EE
.in
.PP
Look into the machine of a job that failed:
.PP
.in +4n
.EX
buildsrht ssh 123
.EE
.in
.SH SEE ALSO
.BR git (1),
.BR ssh (1)
"""


def page(commands: GroupedCommands) -> str:
    root = click.Context(commands, info_name=PROGRAM)
    lines = [*_text(commands.help or "")]
    for title, part in commands.parts.items():
        lines.append(f".SH {title.upper()}")
        for command in part:
            lines += _described(click.Context(command, info_name=command.name, parent=root))
    return HEAD + "\n".join(lines) + "\n" + TAIL


def _described(context: click.Context) -> Iterator[str]:
    """What a command does and takes; of a group, what each of its commands does and takes."""
    command = context.command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _described(click.Context(inner, info_name=inner.name, parent=context))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f".SS {_escaped(usage)}"
    yield from _text(command.help or "")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record and record[1]:
            yield from (".TP", rf"\fB{_escaped(record[0])}\fP", _escaped(record[1]))


def _text(text: str) -> Iterator[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        yield ".PP"
        if paragraph.startswith(AS_IT_IS):
            yield from (".EX", *map(_escaped, paragraph.removeprefix(AS_IT_IS).split("\n")), ".EE")
        else:
            yield from map(_escaped, paragraph.split("\n"))


def _escaped(text: str) -> str:
    """Plain text, but for what stands between backticks, which becomes bold."""
    for character, name in (("\\", r"\e"), ("-", r"\-"), ("~", r"\(ti"), ("^", r"\(ha")):
        text = text.replace(character, name)
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", text)
    return rf"\&{text}" if text.startswith((".", "'")) else text
