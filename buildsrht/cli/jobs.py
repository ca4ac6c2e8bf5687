"""The commands that look at jobs, and move them on."""

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import click

from buildsrht.cli import completing
from buildsrht.cli.connection import connect
from buildsrht.cli.options import (
    given,
    job_id_argument,
    json_option,
    print_json,
    print_rows,
    printable,
    split_tags,
    tags_option,
    visibility_option,
)
from buildsrht.cli.progress import bar
from buildsrht.client import Client, Job, Refused
from buildsrht.follow import LogPrinter, follow

WAITING = ("pending", "queued")
OURS = "It was the service's fault and not the build's."
WAITS_FOR = "query ($id: Int!) { job(id: $id) { waitsFor { text } } }"
UPDATE = """
mutation update($jobId: Int!, $visibility: Visibility, $tags: [String!], $note: String) {
  update(jobId: $jobId, visibility: $visibility, tags: $tags, note: $note) { id }
}"""

PIN = "mutation ($jobId: Int!, $pinned: Boolean) { pin(jobId: $jobId, pinned: $pinned) { id } }"


# --- look -------------------------------------------------------------------------------------


@click.command("list")
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    default=20,
    help="How many at most; 20 unless given.",
)
@json_option
def list_(count: int, as_json: bool) -> None:
    """Print your jobs, newest first: number, status, tags, note."""
    with connect() as client:
        for job in islice(client.jobs(), count):
            if as_json:
                print_json(job)
            else:
                note = (job["note"] or "").partition("\n")[0]
                print_rows([(job["id"], job["status"], job["tags"], note)])


@click.command()
@job_id_argument
@json_option
def show(job_id: int, as_json: bool) -> None:
    """Print how a job is doing, and why it waits if it does."""
    with connect() as client:
        job = client.job(job_id)
        if as_json:
            print_json(job)
        else:
            click.echo(_describe(job, _why_it_waits(client, job)))


def _why_it_waits(client: Client, job: Job) -> list[str]:
    if job["status"] not in WAITING:
        return []
    found = client.graphql(WAITS_FOR, {"id": job["id"]})["job"]
    return [reason["text"] for reason in found["waitsFor"]] if found else []


def _describe(job: Job, reasons: Iterable[str]) -> str:
    facts = {"note": job["note"], "tags": job["tags"], "runner": job["runner"]}
    rows = [("setup", "", job["setup_log"])]
    rows += [(task["name"], task["status"], task["log"]) for task in job["tasks"]]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(
        [
            f"job {job['id']}: {job['status']}",
            *([OURS] if job.get("fault") == "service" else []),
            *reasons,
            *(f"{name}: {printable(value)}" for name, value in facts.items() if value),
            *(f"{name:{width}}  {status:7}  {log}" for name, status, log in rows),
        ]
    )


@click.command()
@job_id_argument
@click.argument("task", required=False, shell_complete=completing.tasks)
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
@json_option
def artifacts(job_id: int, directory: Path | None, as_json: bool) -> None:
    """List what a job left behind: size, name and address."""
    with connect() as client:
        for artifact in client.artifacts(job_id):
            if directory:
                with bar(artifact["name"], artifact["size"], for_programs=as_json) as told:
                    saved = client.download(artifact, directory, told)
            if as_json:
                print_json(artifact)
            elif directory:
                click.echo(saved)
            else:
                url = "removed" if artifact["deleted"] else artifact["url"]
                print_rows([(artifact["size"], artifact["name"], url)])


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


@click.command()
@job_id_argument
@visibility_option
@click.option("--note", help="What the job is for, in Markdown; an empty one removes it.")
@tags_option
@json_option
def update(
    job_id: int, visibility: str | None, note: str | None, tags: str | None, as_json: bool
) -> None:
    """Change what is said about a job, and who may see it. What is not given stays."""
    changes = given(
        {
            "visibility": visibility and visibility.upper(),
            "note": note,
            "tags": split_tags(tags),
        }
    )
    if not changes:
        raise click.UsageError("Nothing to change: name --visibility, --note or --tags.")
    with connect() as client:
        if client.graphql(UPDATE, {"jobId": job_id, **changes})["update"] is None:
            raise Refused(f"there is no job {job_id}")
        if as_json:
            print_json(client.job(job_id))


@click.command()
@job_id_argument
def pin(job_id: int) -> None:
    """Keep the artifacts and logs of a job that is over for ever."""
    _pin(job_id, pinned=True)


@click.command()
@job_id_argument
def unpin(job_id: int) -> None:
    """Keep them no longer than those of other jobs."""
    _pin(job_id, pinned=False)


def _pin(job_id: int, *, pinned: bool) -> None:
    with connect() as client:
        client.graphql(PIN, {"jobId": job_id, "pinned": pinned})


COMMANDS = (list_, show, logs, artifacts, start, cancel, update, pin, unpin)
