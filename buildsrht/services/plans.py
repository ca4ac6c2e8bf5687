"""What a job's manifest has come to mean: image, layer, commits of its sources, and the steps in
their order.

Before a build host has taken the job, this is what will be done as far as that is known; what is
not known is None. What only the build host knows it writes into `job.plan` while it runs the job
(buildsrht.services.runs.record_plan):

    image_version   which build of the image it started
    layer           the layer that the packages came from; None, if from none
    layer_is_new    whether that was made for this job
    origin          where the machine came from: spare, snapshot or boot
    up_seconds      how long that took, from when its run began to when it answered
    commits         by directory, what each source was that has been cloned
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlalchemy.orm import Session

from buildsrht import manifest as manifests
from buildsrht.manifest import Manifest, ManifestError, clone_path
from buildsrht.models import Job, Tree


class PlannedSource(NamedTuple):
    directory: str
    url: str | None = None
    ref: str | None = None
    commit: str | None = None


class PlannedStep(NamedTuple):
    name: str
    subject: str | None = None


class Plan(NamedTuple):
    image: str
    arch: str
    image_version: str | None
    layer: str | None
    sources: list[PlannedSource]
    steps: list[PlannedStep]


class _Given(NamedTuple):
    """What the steps follow from. `directory` is the tree's."""

    manifest: Manifest
    has_secrets: bool
    directory: str | None
    sources: list[PlannedSource]


def plan_of(session: Session, job: Job) -> Plan:
    """The plan of a job in any state."""
    given = _given(session, job)
    return Plan(
        image=job.image,
        arch=job.arch,
        image_version=job.plan.get("image_version"),
        layer=job.plan.get("layer"),
        sources=given.sources if given else [],
        steps=list(_steps(given)) if given else [],
    )


def _given(session: Session, job: Job) -> _Given | None:
    try:
        manifest = manifests.parse(job.manifest)
    except ManifestError:
        # Accepted by an older version, which had other rules: no build host will run it.
        return None
    tree = session.get(Tree, job.tree_id) if job.tree_id is not None else None
    directory = tree.directory if tree else None
    sources = list(_sources(manifest, directory, job.plan.get("commits", {})))
    return _Given(manifest, job.secrets, directory, sources)


def _sources(
    manifest: Manifest, tree_directory: str | None, commits: dict[str, str]
) -> Iterator[PlannedSource]:
    if tree_directory is not None:
        yield PlannedSource(tree_directory)
    for source in manifest.sources:
        directory = clone_path(source)
        if directory != tree_directory:
            yield PlannedSource(directory, source.url, source.ref, commits.get(directory))


# --- steps ----------------------------------------------------------------------------------------


def _secrets(given: _Given) -> Iterator[str | None]:
    if given.has_secrets:
        yield from given.manifest.secrets


def _token(given: _Given) -> Iterator[str | None]:
    if given.has_secrets and given.manifest.oauth:
        yield given.manifest.oauth


def _packages(given: _Given) -> Iterator[str | None]:
    wanted = [*given.manifest.repositories, *given.manifest.packages]
    if wanted:
        yield " ".join(wanted)


def _tree(given: _Given) -> Iterator[str | None]:
    if given.directory is not None:
        yield given.directory


def _clones(given: _Given) -> Iterator[str | None]:
    return (source.directory for source in given.sources if source.url is not None)


# What a build host does, in its order, under the names that it has there, and to what. A test holds
# this to worker.steps.
STEPS: dict[str, Callable[[_Given], Iterator[str | None]]] = {
    "send_files": lambda given: iter([None]),
    "send_secrets": _secrets,
    "send_token": _token,
    "prepare_packages": _packages,
    "unpack_tree": _tree,
    "clone_sources": _clones,
    "run_tasks": lambda given: (task.name for task in given.manifest.tasks),
    "collect_artifacts": lambda given: iter(given.manifest.artifacts),
}


def _steps(given: _Given) -> Iterator[PlannedStep]:
    for name, subjects in STEPS.items():
        for subject in subjects(given):
            yield PlannedStep(name, subject)
