"""The command that makes a job of another one, perhaps with its manifest changed."""

import sys
from collections.abc import Mapping
from typing import Any

import click

from buildsrht.cli.connection import connect
from buildsrht.cli.options import (
    follow_option,
    given,
    job_id_argument,
    json_option,
    note_option,
    say,
    split_tags,
    wait_option,
)
from buildsrht.cli.report import Report
from buildsrht.client import Client, Incomplete, Job, Refused
from buildsrht.errors import BuildsError

RESUBMIT = """
mutation resubmit($jobId: Int!, $note: String, $execute: Boolean) {
  resubmit(jobId: $jobId, note: $note, execute: $execute) { id }
}"""
ORIGINAL = """
query original($id: Int!) {
  job(id: $id) { plan { sources { directory url } } secrets { uuid } }
}"""


@click.command()
@job_id_argument
@click.option("--edit", "editing", is_flag=True, help="Change the manifest in $EDITOR before.")
@note_option
@follow_option
@wait_option
@click.option("--no-execute", is_flag=True, help="Hold the job back until `buildsrht start`.")
@json_option
def resubmit(
    job_id: int,
    editing: bool,
    note: str | None,
    following: bool,
    waiting: bool,
    no_execute: bool,
    as_json: bool,
) -> int:
    """Submit a job once more, as a new job.

    It has the same manifest, tags, visibility, secrets and tree; one of somebody else's comes
    without secrets. Prints and exits as `submit` does.
    """
    report = Report(following, waiting, as_json)
    with connect() as client:
        make = _submit_edited if editing else _resubmit
        job = make(client, job_id, given({"note": note, "execute": False if no_execute else None}))
        report.submitted(client, job)
        return report.ended(client, [job])


def _resubmit(client: Client, job_id: int, options: Mapping[str, Any]) -> Job:
    data = client.graphql(RESUBMIT, {"jobId": job_id, **options})
    return client.job(data["resubmit"]["id"])


def _submit_edited(client: Client, job_id: int, options: Mapping[str, Any]) -> Job:
    """What a user who made a mistake has written is not lost: the editor is opened again."""
    submission = {**_like(client, job_id), **options}
    manifest = _edited(client.manifest(job_id))
    while True:
        try:
            return client.submit({**submission, "manifest": manifest})
        except Refused as error:
            if not sys.stdin.isatty():
                raise
            say(f"buildsrht: {error}")
            click.confirm("Go on editing?", default=True, abort=True, err=True)
        manifest = _edited(manifest)


def _like(client: Client, job_id: int) -> dict[str, Any]:
    """A submission like that of an old job, but for its manifest, which may be somebody else's:
    secrets are only for what had them before."""
    old = client.job(job_id)
    try:
        facts = client.graphql(ORIGINAL, {"id": job_id})["job"]
    except Incomplete as error:
        facts = (error.data or {}).get("job")
        if not facts:
            raise
        say(f"The new job goes without secrets: {error}")
    for source in facts["plan"]["sources"]:
        if source["url"] is None:
            raise Refused(
                f"job {job_id} has the tree {source['directory']}, which an edited manifest would "
                "go without; `buildsrht submit --tree` sends another"
            )
    return given(
        {
            "tags": split_tags(old["tags"]),
            "visibility": old["visibility"],
            "note": old["note"],
            "secrets": None if facts["secrets"] is not None else False,
        }
    )


def _edited(manifest: str) -> str:
    edited = click.edit(manifest, extension=".yml")
    if edited is None:
        raise BuildsError("the manifest was not saved, so nothing was submitted")
    return edited


COMMANDS = (resubmit,)
