"""A working tree that was submitted with a job, in a real guest, and sources that are cloned."""

import io
import tarfile
from dataclasses import replace

import pytest

from buildsrht.config import Config
from buildsrht.models import JobStatus
from buildsrht.services import trees
from tests.worker.fakes import perform
from tests.worker.outcome import outcome_of
from tests.worker.repositories import git, make_repository
from worker import images, machines, steps

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

MANIFEST = """\
image: debian/trixie
sources:
- https://nowhere.invalid/~ada/hello
- clone::file:///home/build/hello/repository
tasks:
- look: |
    stat -c '%U %a' hello/run
    hello/run
    readlink hello/link
    cat clone/README
    git -C clone rev-parse HEAD
"""


@pytest.fixture
def real(backend, host_config: Config):
    """The tests' servers with this host's images."""
    config = replace(backend.config, images=host_config.images, snapshots=host_config.snapshots)
    return replace(backend, config=config)


def test_a_tree_is_the_users_own_in_place_of_a_source_and_before_the_others(
    real, make_job, owner, tmp_path, fetch
):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "run").write_text("#!/bin/sh\necho from my disk\n")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("run")
    repository = make_repository(tree / "repository", {"README": "cloned\n"})
    commit = git(repository, "rev-parse", "HEAD").strip()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        made.add(tree, arcname=".")
    kept = trees.keep_tree(real, owner, "hello", [out.getvalue()])
    job = make_job(manifest=MANIFEST, tree_id=kept.id)

    perform(real, job.id, machines.start)

    outcome = outcome_of(real, job.id)
    assert outcome.status == JobStatus.SUCCESS, outcome
    assert (
        "Unpacking the submitted tree into hello, in place of https://nowhere.invalid/~ada/hello.\n"
        in outcome.setup_log
    )
    for line in ("build 755", "from my disk", "run", "cloned", commit):
        assert f"\n{line}\n" in outcome.logs["look"]
    built = images.require_built(real.config, "debian/trixie", "amd64")
    plan = fetch(job.id).plan
    assert (plan["image_version"], plan["layer"]) == (built.version, None)
    assert plan["commits"] == {"clone": commit}


# In a new directory: one without a commit, and one with two.
MERCURIAL = """
set -e
mkdir mercurial; cd mercurial
hg init empty; hg init full; cd full
echo old >file; hg commit --addremove --user me --message first
hg tag --user me v1
"""


def test_what_a_mercurial_source_was_is_said_last(real_machine):
    guest = real_machine.guest

    def run(*command):
        said = []
        assert guest.run(["bash", "-c", *command], said.append) == 0, said
        return b"".join(said)

    def clone(name, ref):
        arguments = [f"file:///home/build/mercurial/{name}", f"{name}{ref}", ref]
        return steps.AT_COMMIT.search(run(steps.CLONE_HG, "clone", *arguments))

    run(MERCURIAL)
    revisions = run("hg -R mercurial/full log --template '{node} '").split()
    assert [clone("full", ref)[1] for ref in ("", "v1")] == revisions
    assert clone("empty", "") is None
