"""Working trees that are submitted with jobs: what may be one, whose it is, and for how long."""

import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from buildsrht.errors import BadInput, Gone
from buildsrht.models import Job, Tree
from buildsrht.services import jobs, trees
from tests.archives import archive, link, packed


def reasons(refused) -> list[tuple[str | None, str]]:
    return [tuple(error) for error in refused.value.errors]


@pytest.fixture
def keep(backend, owner):
    """Keep a tree: `keep(archive({"main.c": b"int main;"}))`."""

    def keep_tree(data=None, *, directory="project", user=owner, backend=backend):
        data = archive({"main.c": b"int main;"}) if data is None else data
        return trees.keep_tree(backend, user, directory, [data])

    return keep_tree


@pytest.fixture
def stored_trees(backend):
    """What is in storage, and how many rows there are."""

    def look():
        with backend.transaction() as session:
            return backend.storage.keys("trees/"), len(session.scalars(select(Tree)).all())

    return look


def age(backend, tree, **past):
    with backend.transaction() as session:
        expires = datetime.now(UTC) - timedelta(**past)
        session.execute(update(Tree).where(Tree.id == tree.id).values(expires=expires))


# --- what may be one ------------------------------------------------------------------------------


def test_a_tree_is_kept_as_it_came_with_its_size_and_digest(keep, backend):
    data = archive({"src/main.c": b"int main;", "empty/": None})
    tree = keep(data, directory="./project/")
    assert (tree.directory, tree.size) == ("project", len(data))
    assert b"".join(trees.read_tree(backend, tree)) == data


@pytest.mark.parametrize("directory", ["", "/etc", "..", "a/../..", "-rf", "a\nb", "."])
def test_a_tree_goes_where_a_source_may_go(keep, stored_trees, directory):
    with pytest.raises(BadInput) as refused:
        keep(directory=directory)
    assert [field for field, _ in reasons(refused)] == ["treeDirectory"]
    assert stored_trees() == ([], 0)


def test_a_tree_larger_than_the_limit_is_refused_while_it_is_read(backend, owner, stored_trees):
    def endless():
        while True:
            yield b"x" * 1000

    config = replace(backend.config, limits=replace(backend.config.limits, tree=5000))
    with pytest.raises(BadInput) as refused:
        trees.keep_tree(replace(backend, config=config), owner, "project", endless())
    assert reasons(refused) == [("tree", "may have 5,000 bytes, and has more")]
    assert stored_trees() == ([], 0)


def test_all_problems_of_a_tree_are_said_at_once(keep, stored_trees):
    data = packed(
        tarfile.TarInfo("/etc/passwd"),
        tarfile.TarInfo("a/../../b"),
        link("up", "../outside"),
        link("far", "/etc/passwd"),
        link("hard", "../x", tarfile.LNKTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
        link("disk", "", tarfile.BLKTYPE),
        link("good", "main.c"),
        link("sub/good", "../main.c"),
    )
    with pytest.raises(BadInput) as refused:
        keep(data)
    assert reasons(refused) == [
        ("tree", "'/etc/passwd' is outside of the tree"),
        ("tree", "'a/../../b' is outside of the tree"),
        ("tree", "'up' is a link to '../outside', outside of the tree"),
        ("tree", "'far' is a link to '/etc/passwd', outside of the tree"),
        ("tree", "'hard' is a link to '../x', outside of the tree"),
        ("tree", "'pipe' is no file, directory or link"),
        ("tree", "'disk' is no file, directory or link"),
    ]
    assert stored_trees() == ([], 0)


def test_nothing_at_all_is_no_tree(backend, owner, stored_trees):
    with pytest.raises(BadInput) as refused:
        trees.keep_tree(backend, owner, "project", [])
    assert reasons(refused) == [("tree", "ends too early")]
    assert stored_trees() == ([], 0)


def test_an_error_of_whoever_sends_a_tree_leaves_nothing(backend, owner, stored_trees):
    def broken():
        yield b"begun"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        trees.keep_tree(backend, owner, "project", broken())
    assert stored_trees() == ([], 0)


# --- whose it is, and for how long ----------------------------------------------------------------


def test_a_job_names_the_tree_of_its_owner(keep, make_job, backend):
    tree = keep()
    job = make_job(tree_id=tree.id)
    assert job.tree_id == tree.id
    with backend.transaction() as session:
        left = session.get_one(Tree, tree.id).expires - datetime.now(UTC)
    assert left > timedelta(seconds=backend.config.storage.artifact_lifetime - 60)


def test_a_strangers_tree_is_as_good_as_none(keep, make_job, stranger, row_counts):
    tree = keep(user=stranger)
    before = row_counts()
    for tree_id in (tree.id, tree.id + 1):
        with pytest.raises(BadInput) as refused:
            make_job(tree_id=tree_id)
        assert reasons(refused) == [("tree", "it is not kept any more")]
    assert row_counts() == before


def test_a_tree_may_be_around_a_source_and_not_within_one(keep, make_job, row_counts):
    text = "image: debian\nsources: ['./a/b::https://example.org/b']\nshell: true\n"
    for directory in ("a", "a/b", "a/bc"):
        assert make_job(manifest=text, tree_id=keep(directory=directory).id).tree_id
    within = keep(directory="a/b/c")
    before = row_counts()
    with pytest.raises(BadInput) as refused:
        make_job(manifest=text, tree_id=within.id)
    assert reasons(refused) == [
        ("treeDirectory", "lies in ./a/b, into which https://example.org/b is cloned")
    ]
    assert row_counts() == before


def test_a_tree_that_no_job_names_is_gone_after_an_hour(keep, backend, stored_trees):
    tree = keep()
    assert tree.expires - datetime.now(UTC) < timedelta(hours=1)
    assert trees.expire_trees(backend) == 0
    age(backend, tree, seconds=1)
    assert trees.expire_trees(backend) == 1
    assert stored_trees() == ([], 0)


def test_a_tree_whose_time_is_over_leaves_its_row_to_its_jobs(
    keep, make_job, backend, stored_trees
):
    tree = keep()
    job = make_job(tree_id=tree.id)
    age(backend, tree, seconds=1)
    assert (trees.expire_trees(backend), trees.expire_trees(backend)) == (1, 0)
    assert stored_trees() == ([], 1)
    with backend.transaction() as session:
        gone = session.get_one(Tree, session.get_one(Job, job.id).tree_id)
    assert gone.deleted
    with pytest.raises(Gone, match=f"the tree was kept until {gone.expires:%Y-%m-%d}"):
        trees.read_tree(backend, gone)
    with pytest.raises(BadInput):
        make_job(tree_id=tree.id)


def test_a_tree_whose_submission_failed_can_be_discarded_but_not_one_that_a_job_names(
    keep, make_job, backend, stored_trees
):
    failed, named = keep(), keep()
    make_job(tree_id=named.id)
    trees.discard_tree(backend, failed)
    trees.discard_tree(backend, named)
    keys, rows = stored_trees()
    assert (keys, rows) == ([f"trees/{named.uuid}/tree.tar.gz"], 1)


def test_what_a_killed_upload_left_is_cleared_away_with_its_row(backend, owner, stored_trees):
    tree = trees._announce(backend, owner, "project")
    unfinished = backend.config.storage.path / "trees" / str(tree.uuid) / "tree.tar.gz#1"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"begun")
    age(backend, tree, seconds=1)
    trees.expire_trees(backend)
    assert not unfinished.exists()
    assert stored_trees() == ([], 0)


def test_a_submission_with_another_tree_is_another_request(keep, backend, manifest):
    plan = jobs.read_manifest(backend.catalogue, manifest)
    hashes = {jobs.Submission(plan, tree_id=each).hash for each in (None, 1, 2)}
    assert len(hashes) == 3
