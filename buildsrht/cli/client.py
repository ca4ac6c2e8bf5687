"""The commands that use a server: all they need is its address and a token.

`BUILDSRHT_URL` names the one, `BUILDSRHT_TOKEN` is the other.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click

from buildsrht.client import Client, Job, Refused
from buildsrht.errors import OperatorError
from buildsrht.follow import LogPrinter, follow

DEFAULT_URL = "http://127.0.0.1:5002"

job_id_argument = click.argument("job_id", metavar="ID", type=click.IntRange(min=1))
json_option = click.option("--json", "as_json", is_flag=True, help="Print what the API answers.")


def connect() -> Client:
    url = os.environ.get("BUILDSRHT_URL") or DEFAULT_URL
    token = os.environ.get("BUILDSRHT_TOKEN", "").strip()
    if not re.fullmatch(r"https?://[^/\s]+/?", url):
        raise OperatorError(f'BUILDSRHT_URL: expected http://host or https://host, got "{url}"')
    if not re.fullmatch(r"[!-~]+", token):
        raise OperatorError(
            "BUILDSRHT_TOKEN: must hold a token; `buildsrht token create` makes one"
        )
    return Client(url, token)


# --- submit -----------------------------------------------------------------------------------


@click.command()
@click.argument("files", metavar="FILE...", type=click.File("rb"), nargs=-1, required=True)
@click.option(
    "--follow", "following", is_flag=True, help="Print the logs; fail unless all succeed."
)
@click.option("--note", help="What the job is for, in Markdown.")
@click.option("--tags", help="Where it belongs, such as project/branch.")
@click.option(
    "--visibility",
    type=click.Choice(["public", "unlisted", "private"]),
    help="Who may see it: everybody, whoever has the link, or you.",
)
@click.option("--no-execute", is_flag=True, help="Hold the job back until `buildsrht start`.")
@json_option
def submit(
    files: Sequence[BinaryIO],
    following: bool,
    note: str | None,
    tags: str | None,
    visibility: str | None,
    no_execute: bool,
    as_json: bool,
) -> int:
    """Submit each FILE, a manifest, as a job; - is standard input.

    Prints the address of each job. With --follow that goes to stderr, and the logs to stdout; with
    --json and --follow the logs go to stderr as well, and the finished jobs to stdout.
    """
    manifests = [(file.name, _read_text(file)) for file in files]
    options = {
        "note": note,
        "tags": tags.split("/") if tags else None,
        "visibility": visibility,
        "execute": False if no_execute else None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    with connect() as client:
        jobs = []
        for name, manifest in manifests:
            jobs.append(_submit(client, name, {"manifest": manifest, **given}))
            _print_submitted(client, jobs[-1], following, as_json)
        return _follow_all(client, jobs, as_json) if following else 0


def _read_text(file: BinaryIO) -> str:
    try:
        return file.read().decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{file.name}: not UTF-8 at byte {error.start}") from error


def _submit(client: Client, name: str, submission: dict[str, Any]) -> Job:
    try:
        return client.submit(submission)
    except Refused as error:
        raise Refused(f"{name}: {error}") from error


def _print_submitted(client: Client, job: Job, following: bool, as_json: bool) -> None:
    if as_json and not following:
        click.echo(json.dumps(job))
    else:
        click.echo(f"{client.url}/api/jobs/{job['id']}", err=following)


def _follow_all(client: Client, jobs: Sequence[Job], as_json: bool) -> int:
    """Print the logs of one job after the other; 0 if every job succeeded."""
    out = (sys.stderr if as_json else sys.stdout).buffer
    endings = set()
    for job in jobs:
        status = follow(client, job["id"], out)
        click.echo(f"job {job['id']}: {status}", err=True)
        if as_json:
            click.echo(json.dumps(client.job(job["id"])))
        endings.add(status)
    return 0 if endings == {"success"} else 1


# --- look -------------------------------------------------------------------------------------


@click.command()
@job_id_argument
@json_option
def show(job_id: int, as_json: bool) -> None:
    """Print how a job is doing."""
    with connect() as client:
        job = client.job(job_id)
    click.echo(json.dumps(job) if as_json else _describe(job))


def _describe(job: Job) -> str:
    facts = {"note": job["note"], "tags": job["tags"], "runner": job["runner"]}
    rows = [("setup", "", job["setup_log"])]
    rows += [(task["name"], task["status"], task["log"]) for task in job["tasks"]]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(
        [
            f"job {job['id']}: {job['status']}",
            *(f"{name}: {value}" for name, value in facts.items() if value),
            *(f"{name:{width}}  {status:7}  {log}" for name, status, log in rows),
        ]
    )


@click.command()
@job_id_argument
@click.argument("task", required=False)
@click.option("--follow", "following", is_flag=True, help="Go on until the job is over.")
def logs(job_id: int, task: str | None, following: bool) -> None:
    """Print the logs of a job, or only that of TASK."""
    out = sys.stdout.buffer
    with connect() as client:
        if following:
            follow(client, job_id, out, task)
        else:
            LogPrinter(client, out, task).catch_up(client.job(job_id))


@click.command()
@job_id_argument
@click.option(
    "--download",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save them below DIR, checked against their digests.",
)
def artifacts(job_id: int, directory: Path | None) -> None:
    """List what a job left behind: size, name and address."""
    with connect() as client:
        for artifact in client.artifacts(job_id):
            if directory:
                click.echo(client.download(artifact, directory))
            else:
                url = "removed" if artifact["deleted"] else artifact["url"]
                click.echo(f"{artifact['size']}\t{artifact['name']}\t{url}")


# --- act --------------------------------------------------------------------------------------


@click.command()
@job_id_argument
def start(job_id: int) -> None:
    """Start a job that was held back."""
    with connect() as client:
        client.start(job_id)


@click.command()
@job_id_argument
def cancel(job_id: int) -> None:
    """Cancel a job that is not over."""
    with connect() as client:
        client.cancel(job_id)


COMMANDS = (submit, show, logs, artifacts, start, cancel)
