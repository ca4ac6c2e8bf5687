"""The steps of one job inside its guest, in order, as data.

Each step takes the Build and either does its part, writing to the job's log, or raises: JobFailed
when the job itself is to blame, a RunnerError when we are. None knows how the guest was started
or who may stop it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from buildsrht.backend import Backend
from buildsrht.errors import Gone
from buildsrht.manifest import Manifest, Source, clone_path
from buildsrht.models import Artifact, TaskStatus
from buildsrht.services import artifacts, runs, trees
from buildsrht.services.artifacts import Upload
from buildsrht.services.phases import Name as Phase
from buildsrht.services.runs import Run
from worker import grants, packages, secrets
from worker.environment import (
    BUILD_ENVIRONMENT,
    COMPLETE,
    TASKS,
    always_set,
    build_environment,
    task_script,
)
from worker.errors import GuestRefused
from worker.guest import File, Guest
from worker.logbook import Logbook
from worker.packages import JobFailed, how_it_ended, require_success
from worker.patience import patiently

# url, directory, ref. A ref that a plain clone does not bring, such as refs/pull/1/head, is asked
# for by name.
CLONE_GIT = """
set -e
export GIT_TERMINAL_PROMPT=0
export GIT_SSH_COMMAND="ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
git clone -- "$1" "$2"
cd "$2"
if [ -n "$3" ]; then
    git checkout -q "$3" -- || { git fetch -q origin "$3" && git checkout -q FETCH_HEAD; }
fi
git submodule update --init --recursive
if commit=$(git rev-parse --verify --quiet HEAD); then
    echo "At commit $commit."
fi
"""
CLONE_HG = """
set -e
hg clone --ssh "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null" -- "$1" "$2"
cd "$2"
if [ -n "$3" ]; then
    hg update -- "$3"
fi
commit=$(hg log --rev '. - null' --template '{node}')
if [ -n "$commit" ]; then
    echo "At commit $commit."
fi
"""
CLONE = {"git": CLONE_GIT, "hg": CLONE_HG}
AT_COMMIT = re.compile(rb"At commit ([0-9a-f]{40,64})\.\n\Z")

# archive, directory
UNPACK = """
trap 'rm -f -- "$1"' EXIT
mkdir -p -- "$2" && tar -xzof "$1" -C "$2"
"""
TREE = ".tree-to-unpack"


@dataclass(frozen=True)
class Build:
    """Everything that a step may use."""

    backend: Backend
    run: Run
    manifest: Manifest
    guest: Guest
    # Whether the guest comes from a layer, with the manifest's repositories and packages.
    has_packages: bool
    logbook: Logbook
    # Says what goes on from now on, where no task's beginning says so.
    begin: Callable[[Phase], None]


def send_files(build: Build) -> None:
    """Each task's script, and what every one of them reads first."""
    files = [
        File(f"{TASKS}/{task.name}", task_script(task).encode(), mode=0o755)
        for task in build.manifest.tasks
    ]
    build.guest.write_files([*files, File(BUILD_ENVIRONMENT, _environment(build).encode())])


def _environment(build: Build) -> str:
    run = build.run
    always = always_set(build.backend.config.web.origin, run.owner, run.job_id)
    return build_environment(build.manifest, always)


def send_secrets(build: Build) -> None:
    if named := build.manifest.secrets:
        secrets.send(build.backend, build.run, named, build.guest, build.logbook)


def send_token(build: Build) -> None:
    if build.manifest.grants:
        grants.send(build.backend, build.run, build.manifest, build.guest, build.logbook)


def prepare_packages(build: Build) -> None:
    manifest = build.manifest
    if not build.has_packages and (manifest.repositories or manifest.packages):
        build.begin(Phase.PACKAGES)
        packages.add_repositories(build.guest, manifest, build.logbook)
        packages.install_packages(build.guest, manifest, build.logbook)


def unpack_tree(build: Build) -> None:
    tree = build.run.tree
    if tree is None:
        return
    directory = tree.directory
    replaced = [each.url for each in build.manifest.sources if clone_path(each) == directory]
    build.begin(Phase.SOURCES)
    instead = f", in place of {replaced[0]}" if replaced else ""
    build.logbook.say(f"Unpacking the submitted tree into {directory}{instead}.")
    try:
        build.guest.write(TREE, trees.read_tree(build.backend, tree), mode=0o600)
    except (Gone, GuestRefused) as error:
        raise JobFailed(f"tree {directory}: {error}") from error
    command = ["bash", "-c", UNPACK, "unpack", TREE, directory]
    require_success(build.guest, build.logbook, "build", command, f"tree {directory}")


def clone_sources(build: Build) -> None:
    commits = {}
    if build.manifest.sources:
        build.begin(Phase.SOURCES)
    for source in build.manifest.sources:
        directory = clone_path(source)
        if build.run.tree and build.run.tree.directory == directory:
            continue
        build.logbook.say(f"Cloning into {source.directory}.")
        said = _LastWords(build.logbook.write)
        status = build.guest.run(_clone_command(source), said.hear)
        if status != 0:
            raise JobFailed(f"source {source.directory}: {how_it_ended(status)}")
        if commit := AT_COMMIT.search(said.last):
            commits[directory] = build.logbook.shown(commit[1].decode())
            _record_plan(build, commits=commits)


class _LastWords:
    """Passes on what a command says, and knows the end of it."""

    LENGTH = 100

    def __init__(self, sink: Callable[[bytes], None]):
        self._sink = sink
        self.last = b""

    def hear(self, data: bytes) -> None:
        self.last = (self.last + data)[-self.LENGTH :]
        self._sink(data)


def _record_plan(build: Build, **facts: Any) -> None:
    patience = build.backend.config.worker.patience
    patiently(lambda: runs.record_plan(build.backend, build.run, **facts), patience)


def _clone_command(source: Source) -> list[str]:
    arguments = [source.url, source.directory, source.ref or ""]
    return ["bash", "-c", CLONE[source.scm], "clone", *arguments]


def run_tasks(build: Build) -> None:
    for position, task in enumerate(build.manifest.tasks):
        _run_task(build, task.name)
        if _is_complete(build):
            build.logbook.say(f"Task {task.name} completed the build.")
            for skipped in build.manifest.tasks[position + 1 :]:
                _move_task(build, skipped.name, TaskStatus.SKIPPED)
            return


def _run_task(build: Build, name: str) -> None:
    _move_task(build, name, TaskStatus.RUNNING)
    build.logbook.say(f"Running task {name}.")
    build.logbook.start_task(build.run.task_ids[name])
    status = build.guest.run(["bash", f"{TASKS}/{name}"], build.logbook.write, terminal=True)
    build.logbook.end_task()
    _move_task(build, name, TaskStatus.SUCCESS if status == 0 else TaskStatus.FAILED)
    if status != 0:
        raise JobFailed(f"task {name}: {how_it_ended(status)}")


def _move_task(build: Build, name: str, to: TaskStatus) -> None:
    task_id = build.run.task_ids[name]
    patience = build.backend.config.worker.patience
    patiently(lambda: runs.move_run_task(build.backend, build.run, task_id, to), patience)


def _is_complete(build: Build) -> bool:
    try:
        return b"".join(build.guest.read(COMPLETE, limit=16)).strip() == b"1"
    except GuestRefused:
        return False


def collect_artifacts(build: Build) -> None:
    limit = build.backend.config.limits.artifact
    for path in build.manifest.artifacts:
        try:
            chunks = build.guest.read(path, limit=limit)
            upload = artifacts.upload_artifact(build.backend, build.run, path, chunks)
        except GuestRefused as error:
            raise JobFailed(f"artifact {path}: {error}") from error
        kept = _keep_artifact(build, upload)
        build.logbook.say(f"Kept artifact {path}: {kept.size} bytes, SHA-256 {kept.sha256.hex()}.")


def _keep_artifact(build: Build, upload: Upload) -> Artifact:
    patience = build.backend.config.worker.patience
    return patiently(lambda: artifacts.keep_artifact(build.backend, build.run, upload), patience)


STEPS: tuple[Callable[[Build], None], ...] = (
    send_files,
    send_secrets,
    send_token,
    prepare_packages,
    unpack_tree,
    clone_sources,
    run_tasks,
    collect_artifacts,
)
