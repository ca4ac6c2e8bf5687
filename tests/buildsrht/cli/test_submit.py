"""Submitting what is named, what is usual, and what is not committed yet; and once more."""

import io
import json
import os
import pty
import subprocess
import sys
import tarfile
from dataclasses import replace

import pytest
from sqlalchemy import select

from buildsrht import serving
from buildsrht.models import Tree, Visibility
from buildsrht.services import trees
from tests.buildsrht.cli.program import environment
from tests.worker.fakes import fake_boot, perform

MANIFEST = """\
image: debian/trixie
sources:
- code::https://example.invalid/~owner/hello
tasks:
- build: cat code/main.c code/new.c
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A working tree with a manifest, where we are; nothing in it is committed."""
    root = tmp_path / "hello"
    (root / ".builds").mkdir(parents=True)
    monkeypatch.chdir(root)
    subprocess.run(["git", "init", "--quiet"], check=True)
    (root / ".build.yml").write_text(MANIFEST)
    (root / "main.c").write_text("changed\n")
    (root / "new.c").write_text("new\n")
    return root


@pytest.fixture
def tree_of(backend):
    """The names in the tree of a job, and the directory that it becomes."""

    def tree_of(job):
        with backend.transaction() as session:
            tree = session.scalars(select(Tree).where(Tree.id == job.tree_id)).one()
            data = b"".join(trees.read_tree(backend, tree))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return tree.directory, archive.getnames()

    return tree_of


# What is usual


def test_without_a_file_it_is_what_a_push_would_build(as_owner, repository, fetch):
    for name in ("b.yml", "a.yml", "c.yaml", "notes"):
        (repository / f".builds/{name}").write_text(f"{MANIFEST}# {name}\n")

    done = as_owner("submit")

    assert len(done.out.splitlines()) == 3
    assert fetch(1).manifest == MANIFEST
    assert [fetch(id_).manifest.splitlines()[-1] for id_ in (2, 3)] == ["# a.yml", "# b.yml"]


def test_without_a_file_and_without_a_usual_one_nothing_makes_sense(
    as_owner, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    done = as_owner("submit")

    assert done.status == 2
    assert "there is no .build.yml or .builds/*.yml" in done.err


@pytest.mark.parametrize(
    ("options", "expected"), [([], True), (["--secrets"], True), (["--no-secrets"], False)]
)
def test_a_build_may_be_kept_from_secrets(as_owner, repository, fetch, options, expected):
    as_owner("submit", *options)

    assert fetch(1).secrets is expected


# A working tree


def test_a_working_tree_travels_and_appears_as_the_source(
    as_owner, repository, backend, fetch, tree_of
):
    done = as_owner("submit", "--tree")

    assert done.status == 0, done.err
    assert tree_of(fetch(1)) == ("code", [".build.yml", "main.c", "new.c"])
    perform(backend, 1, fake_boot)
    assert as_owner("logs", 1, "build").out.splitlines()[-2:] == ["changed", "new"]
    assert fetch(1).status == "success"


def test_a_working_tree_brings_its_own_manifests_from_wherever_we_are(
    as_owner, repository, tmp_path, monkeypatch, fetch, tree_of
):
    monkeypatch.chdir(tmp_path)

    done = as_owner("submit", f"--tree={repository}")

    assert done.status == 0, done.err
    assert fetch(1).manifest == MANIFEST


def test_a_working_tree_goes_with_each_manifest(as_owner, repository, fetch, tree_of, tmp_path):
    other = tmp_path / "other.yml"
    other.write_text(MANIFEST.replace("code::", "elsewhere::"))

    done = as_owner("submit", ".build.yml", other, "--tree")

    assert done.status == 0, done.err
    assert [tree_of(fetch(id_))[0] for id_ in (1, 2)] == ["code", "elsewhere"]


def test_a_working_tree_does_not_change_what_else_is_said(as_owner, repository, fetch):
    options = ["--note", "why", "--tags", "a/b", "--visibility", "private", "--no-secrets"]

    done = as_owner("submit", "--no-execute", "--json", *options, "--tree")

    job = fetch(1)
    assert json.loads(done.out)["id"] == 1
    assert (job.note, job.tags, job.visibility) == ("why", ["a", "b"], Visibility.PRIVATE)
    assert (job.secrets, job.status) == (False, "pending")


def test_outside_of_git_there_is_no_tree(as_owner, tmp_path, monkeypatch, row_counts):
    monkeypatch.chdir(tmp_path)

    done = as_owner("submit", "--tree")

    assert (done.status, done.out) == (1, "")
    assert "is no working tree of git" in done.err
    assert row_counts()["job"] == 0


def test_a_file_in_the_place_of_a_directory_is_refused(as_owner, repository):
    done = as_owner("submit", "--tree", ".build.yml")

    assert done.status == 2
    assert "Directory '.build.yml' is a file" in done.err


def test_a_tree_that_the_server_would_not_take_is_not_sent(
    as_owner, repository, app, backend, row_counts
):
    limits = replace(backend.config.limits, tree=100)
    serving.install(app, replace(backend, config=replace(backend.config, limits=limits)))

    done = as_owner("submit", "--tree")

    assert (done.status, done.out) == (1, "")
    assert f"{repository}: is more than 100 bytes, compressed" in done.err
    assert row_counts()["tree"] == 0


def test_a_tree_that_the_server_refuses_is_one_sentence_and_no_job(
    as_owner, repository, row_counts
):
    (repository / "out").symlink_to("/etc/passwd")

    done = as_owner("submit", "--tree")

    assert (done.status, done.out) == (1, "")
    assert "tree: 'out' is a link to '/etc/passwd', outside of the tree" in done.err
    assert row_counts()["job"] == 0


def test_a_manifest_that_is_refused_names_its_file_with_a_tree_too(as_owner, repository):
    (repository / ".build.yml").write_text("image: debian/trixie\n")

    done = as_owner("submit", "--tree")

    assert done.status == 1
    assert done.err.startswith(f"buildsrht: {repository}/.build.yml: manifest: ")


# A terminal


def on_a_terminal(*arguments, typed=b"", **variables):
    """What is printed on standard error, a terminal, and on standard output, which is none."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "buildsrht", *arguments],
        env=environment(**variables),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass  # how a terminal ends whose other side is closed
    os.close(ours)
    out = process.communicate()[0]
    assert process.returncode == 0, shown
    return shown.decode(), out.decode()


@pytest.fixture
def as_owner_on_a_terminal(server, token, owner):
    variables = {"BUILDSRHT_URL": server, "BUILDSRHT_TOKEN": token(owner)}
    return lambda *arguments, **more: on_a_terminal(*arguments, **variables, **more)


def test_an_upload_shows_how_far_it_is_on_a_terminal(as_owner_on_a_terminal, repository, server):
    shown, out = as_owner_on_a_terminal("submit", "--tree")

    assert "Sending hello" in shown
    assert "100%" in shown
    assert out == f"{server}/api/jobs/1\n"


def test_a_download_shows_how_far_it_is_on_a_terminal(
    as_owner_on_a_terminal, make_job, keep_artifact, tmp_path
):
    keep_artifact(make_job("success"), "out.txt", b"made")

    shown, out = as_owner_on_a_terminal("artifacts", "1", "--download", str(tmp_path / "new"))

    assert "out.txt" in shown
    assert "100%" in shown
    assert out == f"{tmp_path}/new/out.txt\n"


def test_programs_see_no_progress_though_they_run_on_a_terminal(
    as_owner_on_a_terminal, make_job, keep_artifact, repository
):
    keep_artifact(make_job("success"), "out.txt", b"made")

    assert as_owner_on_a_terminal("submit", "--json", "--tree")[0] == ""
    assert as_owner_on_a_terminal("artifacts", "1", "--json", "--download", "new")[0] == ""


def test_without_a_terminal_nothing_is_shown(as_owner, repository):
    assert as_owner("submit", "--tree").err == ""


def test_who_is_to_type_a_manifest_is_told_so(as_owner_on_a_terminal, fetch):
    manifest = b"image: debian/trixie\ntasks:\n- build: make\n"

    shown, _ = as_owner_on_a_terminal("submit", "-", typed=manifest + b"\x04")

    assert "Reading what is typed here, until Ctrl-D." in shown
    assert fetch(1).manifest == manifest.decode()


# Once more


def test_a_job_is_submitted_once_more(as_owner, server, make_job, fetch, manifest):
    make_job("failed", note="why", tags=["a"], visibility=Visibility.PRIVATE)

    done = as_owner("resubmit", 1)

    assert done == (0, f"{server}/api/jobs/2\n", "")
    job = fetch(2)
    assert (job.manifest, job.tags, job.status) == (manifest, ["a"], "queued")
    assert job.visibility == Visibility.PRIVATE


def test_once_more_may_have_another_note_and_wait(as_owner, make_job, fetch):
    make_job("failed", note="why")

    as_owner("resubmit", 1, "--note", "again", "--no-execute")

    assert (fetch(2).note, fetch(2).status) == ("again", "pending")


def test_the_manifest_may_be_changed_before(as_owner, make_job, fetch, monkeypatch, manifest):
    make_job("failed", note="why", tags=["a", "b"])
    monkeypatch.setenv("EDITOR", "sed -i s/make/gmake/")

    done = as_owner("resubmit", 1, "--edit")

    assert done.status == 0, done.err
    job = fetch(2)
    assert job.manifest == manifest.replace("make", "gmake", 2)
    assert (job.note, job.tags) == ("why", ["a", "b"])


def test_a_mistake_in_what_was_written_leads_back_to_the_editor(
    as_owner_on_a_terminal, make_job, fetch, tmp_path
):
    make_job("failed")
    editor = tmp_path / "editor"
    editor.write_text(
        '#!/bin/sh\nif grep -q Oops "$1"; then sed -i s/Oops/oops/ "$1"; '
        'else sed -i "s/- build:/- Oops:/" "$1"; fi\n'
    )
    editor.chmod(0o755)

    shown, _ = as_owner_on_a_terminal("resubmit", "1", "--edit", typed=b"y\n", EDITOR=str(editor))

    assert "tasks[0]: 'Oops' may use a-z" in shown
    assert "Go on editing?" in shown
    assert "- oops: make" in fetch(2).manifest


def test_an_editor_that_changes_nothing_submits_nothing(
    as_owner, make_job, monkeypatch, row_counts
):
    make_job("failed")
    monkeypatch.setenv("EDITOR", "true")

    done = as_owner("resubmit", 1, "--edit")

    assert done.status == 1
    assert done.err == "buildsrht: the manifest was not saved, so nothing was submitted\n"
    assert row_counts()["job"] == 1


def test_an_edited_manifest_of_somebody_else_gets_no_secrets(
    as_owner, make_job, fetch, stranger, monkeypatch
):
    make_job("failed", user=stranger, visibility=Visibility.PUBLIC)
    monkeypatch.setenv("EDITOR", "sed -i s/make/gmake/")

    assert as_owner("resubmit", 1, "--edit").status == 0
    assert fetch(2).secrets is False


def test_a_job_with_a_tree_is_not_edited_without_it(as_owner, repository, monkeypatch, row_counts):
    as_owner("submit", "--tree")
    monkeypatch.setenv("EDITOR", "sed -i s/cat/tac/")

    done = as_owner("resubmit", 1, "--edit")

    assert done.status == 1
    assert done.err.startswith("buildsrht: job 1 has the tree code, which an edited manifest would")
    assert row_counts()["job"] == 1
