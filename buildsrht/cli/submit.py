"""The commands that make a job: of a manifest, perhaps with a working tree, or of another job."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import SEEK_END
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import click

from buildsrht.cli import worktree
from buildsrht.cli.connection import connect
from buildsrht.cli.options import (
    exit_status,
    follow_option,
    given,
    job_id_argument,
    json_option,
    note_option,
    print_json,
    read_text,
    say,
    split_tags,
    tags_option,
    visibility_option,
    wait_option,
)
from buildsrht.cli.progress import bar
from buildsrht.client import Client, Incomplete, Job, Refused
from buildsrht.errors import BuildsError
from buildsrht.follow import follow, wait

# What is submitted where nothing is named, as forges do on a push.
USUAL_MANIFESTS = (".build.yml", ".builds/*.yml")

SUBMIT_WITH_TREE = """
mutation submit($manifest: String!, $tags: [String!], $note: String, $secrets: Boolean,
                $execute: Boolean, $visibility: Visibility, $tree: Upload, $treeDirectory: String) {
  submit(manifest: $manifest, tags: $tags, note: $note, secrets: $secrets, execute: $execute,
         visibility: $visibility, tree: $tree, treeDirectory: $treeDirectory) { id }
}"""
RESUBMIT = """
mutation resubmit($jobId: Int!, $note: String, $execute: Boolean) {
  resubmit(jobId: $jobId, note: $note, execute: $execute) { id }
}"""
TREE_LIMIT = "query { version { settings { treeLimit } } }"
ORIGINAL = """
query original($id: Int!) {
  job(id: $id) { plan { sources { directory url } } secrets { uuid } }
}"""


@click.command()
@click.argument("files", metavar="[FILE...]", type=click.File("rb"), nargs=-1)
@click.option(
    "--tree",
    "directory",
    metavar="[DIR]",
    is_flag=False,
    flag_value=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Build the git working tree that DIR is in, as it is; this one unless DIR is given.",
)
@follow_option
@wait_option
@note_option
@tags_option
@visibility_option
@click.option("--secrets/--no-secrets", default=None, help="Whether the build gets its secrets.")
@click.option("--no-execute", is_flag=True, help="Hold the job back until `buildsrht start`.")
@json_option
def submit(
    files: Sequence[BinaryIO],
    directory: Path | None,
    following: bool,
    waiting: bool,
    note: str | None,
    tags: str | None,
    visibility: str | None,
    secrets: bool | None,
    no_execute: bool,
    as_json: bool,
) -> int:
    """Submit manifests as jobs.

    FILE is a manifest, and - standard input. Without any it is .build.yml and .builds/*.yml, in the
    current directory or, with --tree, at the root of that tree.

    With --tree, the build gets the files of a git working tree as they are now, committed or not,
    but without those that git ignores: in the directory of the source that is this repository, or
    else in one with its name. FILE goes before --tree, or DIR after an equals sign.

    Prints the address of each job. With --follow or --wait that goes to stderr, and the logs, of
    --follow, to stdout; with --json the logs go to stderr as well, and the finished jobs to
    stdout. The exit status is 0 if every job succeeded, 1 if one failed, 3 if one ran into its time
    limit, and 4 if one was cancelled.
    """
    tree = worktree.find(directory) if directory else None
    manifests = [(file.name, read_text(file)) for file in files]
    manifests = manifests or _usual_manifests(tree.root if tree else Path())
    options = given(
        {
            "note": note,
            "tags": split_tags(tags),
            "visibility": visibility,
            "secrets": secrets,
            "execute": False if no_execute else None,
        }
    )
    report = _Report(following, waiting, as_json)
    with connect() as client, _packed(client, tree, as_json) as package:
        jobs = []
        for name, manifest in manifests:
            jobs.append(_submit(client, name, {"manifest": manifest, **options}, package))
            report.submitted(client, jobs[-1])
        return report.ended(client, jobs)


def _usual_manifests(directory: Path) -> list[tuple[str, str]]:
    found = [path for pattern in USUAL_MANIFESTS for path in sorted(directory.glob(pattern))]
    if not found:
        raise click.UsageError(f"No FILE is named, and there is no {' or '.join(USUAL_MANIFESTS)}.")
    manifests = []
    for path in found:
        with path.open("rb") as file:
            manifests.append((str(path), read_text(file)))
    return manifests


class _Package(NamedTuple):
    """A working tree, and the archive that was made of it."""

    tree: worktree.WorkingTree
    archive: IO[bytes]
    for_programs: bool


@contextmanager
def _packed(
    client: Client, tree: worktree.WorkingTree | None, for_programs: bool
) -> Iterator[_Package | None]:
    if tree is None:
        yield None
        return
    limit = client.graphql(TREE_LIMIT)["version"]["settings"]["treeLimit"]
    with tempfile.TemporaryFile() as archive:
        worktree.pack(tree, archive, limit)
        yield _Package(tree, archive, for_programs)


def _submit(
    client: Client, name: str, submission: Mapping[str, Any], package: _Package | None
) -> Job:
    try:
        if package:
            return _submit_with_tree(client, submission, package)
        return client.submit(submission)
    except Refused as error:
        raise Refused(f"{name}: {error}") from error


def _submit_with_tree(client: Client, submission: Mapping[str, Any], package: _Package) -> Job:
    variables = {
        **submission,
        "tree": None,
        "treeDirectory": worktree.source_directory(package.tree, submission["manifest"]),
    }
    if "visibility" in submission:
        variables["visibility"] = submission["visibility"].upper()
    size = package.archive.seek(0, SEEK_END)
    label = f"Sending {package.tree.root.name}"
    with bar(label, size, for_programs=package.for_programs) as told:
        data = client.graphql(SUBMIT_WITH_TREE, variables, {"tree": package.archive}, told)
    return client.job(data["submit"]["id"])


class _Report(NamedTuple):
    """What a command that makes jobs prints of them, and whether it stays until they are over."""

    following: bool
    waiting: bool
    as_json: bool

    def submitted(self, client: Client, job: Job) -> None:
        stays = self.following or self.waiting
        if self.as_json and not stays:
            print_json(job)
        else:
            click.echo(f"{client.url}/api/jobs/{job['id']}", err=stays)

    def ended(self, client: Client, jobs: Sequence[Job]) -> int:
        """The exit status; with nothing to stay for, 0 at once."""
        if not (self.following or self.waiting):
            return 0
        endings = []
        for job in jobs:
            endings.append(self._end(client, job["id"]))
            say(f"job {job['id']}: {endings[-1]}")
            if self.as_json:
                print_json(client.job(job["id"]))
        return exit_status(endings)

    def _end(self, client: Client, job_id: int) -> str:
        if not self.following:
            return wait(client, job_id)
        return follow(client, job_id, (sys.stderr if self.as_json else sys.stdout).buffer)


# --- once more --------------------------------------------------------------------------------


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
    report = _Report(following, waiting, as_json)
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


COMMANDS = (submit, resubmit)
