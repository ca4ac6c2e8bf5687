"""The command that says how the whole service is."""

import json
from contextlib import closing

import click

EXIT = {"ok": 0, "degraded": 1, "failing": 2}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def health(as_json: bool) -> int:
    """Say whether the service can do its work right now, and every reason why not.

    As `/health` does, without the web service. The exit status is 0 if it is ok, 1 if it is
    degraded and 2 if it is failing.
    """
    from buildsrht import config
    from buildsrht.backend import open_backend
    from buildsrht.health.judging import judge
    from buildsrht.health.looking import Look

    with closing(open_backend(config.load())) as backend:
        found = judge(Look(backend)())
    if as_json:
        reasons = [{"code": reason.code, "text": reason.text} for reason in found.reasons]
        click.echo(json.dumps({"status": found.verdict, "reasons": reasons}))
    else:
        click.echo(found.verdict)
        for reason in found.reasons:
            click.echo(f"{reason.verdict:<8} {reason.code}: {reason.text}")
    return EXIT[found.verdict]


COMMANDS = (health,)
