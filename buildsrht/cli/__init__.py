"""The command line: `buildsrht COMMAND`.

What programs read goes to stdout and what people read to stderr. An error is one sentence and a
non-zero exit status: 1, or 2 for a command line that makes no sense. A traceback is a bug of ours.

The commands know the services or the HTTP client, and do nothing that those do not.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from buildsrht.cli import (
    account,
    ask,
    check,
    completion,
    courier,
    deliveries,
    health,
    hooks,
    jobs,
    keys,
    login,
    operate,
    resubmit,
    runners,
    secrets,
    ssh_keys,
    storage,
    submit,
    users,
)
from buildsrht.cli.grouped import GroupedCommands
from buildsrht.cli.options import printable
from buildsrht.errors import BuildsError

INTERRUPTED = 130


@click.group(cls=GroupedCommands)
def commands() -> None:
    """A CI job queue: every job runs in a fresh virtual machine that nobody used before.

    Those who use a server need its address and a login or a token. Those who operate one work on
    its machine, with its configuration.
    """


commands.add_part("Use a server", (submit, resubmit, jobs, login, account, ask, completion))
commands.add_part(
    "Operate a server",
    (
        *(operate, check, health, runners, users, courier),
        *(storage, keys, secrets, ssh_keys, hooks, deliveries),
    ),
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, by default the one that the process was started with, and exit."""
    try:
        sys.exit(commands.main(arguments, prog_name="buildsrht", standalone_mode=False))
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "buildsrht"
        fail(f"{command}: {error.format_message()} (--help says more)", error.exit_code)
    except click.ClickException as error:
        fail(f"buildsrht: {error.format_message()}", error.exit_code)
    except BuildsError as error:
        fail(f"buildsrht: {error}")
    except OSError as error:
        # A disk that is full, a directory that is not ours: the machine's, not a bug. A pipe that
        # nobody reads any more never gets here: click ends quietly.
        fail(f"buildsrht: {error.filename or 'I/O'}: {error.strerror or error}")
    except click.Abort:
        sys.exit(INTERRUPTED)


def fail(sentence: str, status: int = 1) -> NoReturn:
    click.echo(printable(sentence), err=True)
    sys.exit(status)
