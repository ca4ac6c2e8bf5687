"""The command that teaches a shell to complete the others."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "buildsrht"
VARIABLE = "_BUILDSRHT_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what has a shell complete commands.

    And options, and numbers and tags of jobs. In bash: eval "$(buildsrht completion bash)"
    """
    complete = get_completion_class(shell)
    assert complete, "click knows each of these"
    click.echo(complete(context.find_root().command, {}, PROGRAM, VARIABLE).source())


COMMANDS = (completion,)
