"""The command that makes jobs of manifests, perhaps with a working tree."""

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
    follow_option,
    given,
    json_option,
    note_option,
    read_text,
    split_tags,
    tags_option,
    visibility_option,
    wait_option,
)
from buildsrht.cli.progress import bar
from buildsrht.cli.report import Report
from buildsrht.client import Client, Job, Refused

# What is submitted where nothing is named, as forges do on a push.
USUAL_MANIFESTS = (".build.yml", ".builds/*.yml")

SUBMIT_WITH_TREE = """
mutation submit($manifest: String!, $tags: [String!], $note: String, $secrets: Boolean,
                $execute: Boolean, $visibility: Visibility, $tree: Upload, $treeDirectory: String) {
  submit(manifest: $manifest, tags: $tags, note: $note, secrets: $secrets, execute: $execute,
         visibility: $visibility, tree: $tree, treeDirectory: $treeDirectory) { id }
}"""
TREE_LIMIT = "query { version { settings { treeLimit } } }"


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
    report = Report(following, waiting, as_json)
    with connect() as client:
        jobs = []
        with _packed(client, tree, as_json) as package:
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


COMMANDS = (submit,)
