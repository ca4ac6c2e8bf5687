"""A working tree of git is packed as it is: what `git add --all` would put in a commit."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from buildsrht.archives import problems_of
from buildsrht.cli import worktree
from buildsrht.errors import BuildsError, OperatorError

NO_LIMIT = 2**30
MANIFEST = "image: debian/trixie\nsources:\n{sources}tasks:\n- build: make\n"


def git(directory: Path, *arguments: str) -> None:
    """With no configuration but this one, which lets a test clone from a directory."""
    settings = ("protocol.file.allow=always", "user.name=Ada", "user.email=ada@example.org")
    options = [part for setting in settings for part in ("-c", setting)]
    subprocess.run(["git", *options, *arguments], cwd=directory, check=True, capture_output=True)


def write(path: Path, text: str = "text\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def commit(directory: Path) -> None:
    git(directory, "add", "--all")
    git(directory, "commit", "--message", "all")


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch):
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", os.devnull)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with one commit."""
    root = tmp_path / "hello"
    root.mkdir()
    git(root, "init")
    write(root / "main.c", "committed\n")
    write(root / "lib/one.c")
    commit(root)
    return root


def archive(directory: Path) -> bytes:
    file = io.BytesIO()
    worktree.pack(worktree.find(directory), file, NO_LIMIT)
    return file.getvalue()


def members(directory: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive(directory))) as packed:
        return {member.name: member for member in packed}


def content(directory: Path, name: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(archive(directory))) as packed:
        file = packed.extractfile(name)
        assert file
        return file.read().decode()


# What belongs to it


def test_a_clean_tree_is_what_is_committed(repository):
    assert list(members(repository)) == ["lib/one.c", "main.c"]


def test_a_changed_file_comes_as_it_is_now(repository):
    write(repository / "main.c", "staged\n")
    git(repository, "add", "main.c")
    write(repository / "main.c", "changed since\n")

    assert content(repository, "main.c") == "changed since\n"


def test_a_new_file_comes_and_an_ignored_one_does_not(repository):
    write(repository / ".gitignore", "*.o\n/out/\n")
    write(repository / "lib/.gitignore", "!kept.o\n")
    write(repository / ".git/info/exclude", "mine\n")
    for name in ("new.c", "main.o", "lib/kept.o", "out/new.c", "mine"):
        write(repository / name)

    assert set(members(repository)) == {
        *(".gitignore", "lib/.gitignore", "lib/kept.o", "lib/one.c", "main.c", "new.c")
    }


def test_a_file_that_is_committed_comes_even_if_it_is_ignored(repository):
    write(repository / ".gitignore", "main.c\n")

    assert "main.c" in members(repository)


def test_what_was_deleted_or_renamed_is_not_there_by_its_old_name(repository):
    (repository / "main.c").unlink()
    git(repository, "mv", "lib/one.c", "lib/two.c")

    assert list(members(repository)) == ["lib/two.c"]


def test_a_file_in_a_conflict_comes_once(repository):
    git(repository, "checkout", "-b", "other")
    write(repository / "main.c", "theirs\n")
    commit(repository)
    git(repository, "checkout", "-")
    write(repository / "main.c", "ours\n")
    commit(repository)
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "other")

    with tarfile.open(fileobj=io.BytesIO(archive(repository))) as packed:
        assert packed.getnames() == ["lib/one.c", "main.c"]
    assert "<<<<<<<" in content(repository, "main.c")


def test_the_repository_itself_stays_at_home(repository):
    assert not [name for name in members(repository) if ".git" in name]


def test_it_is_all_of_the_tree_from_wherever_in_it_we_are(repository):
    assert list(members(repository / "lib")) == ["lib/one.c", "main.c"]


def test_before_the_first_commit_there_are_files(tmp_path):
    git(tmp_path, "init")
    write(tmp_path / "new.c")

    assert list(members(tmp_path)) == ["new.c"]


# How it is kept


def test_modes_times_and_links_are_kept(repository):
    write(repository / "run.sh").chmod(0o755)
    (repository / "link").symlink_to("lib/one.c")
    (repository / "dangling").symlink_to("nowhere")
    os.utime(repository / "main.c", (1_000_000_000, 1_000_000_000.25))

    found = members(repository)

    assert found["run.sh"].mode == 0o755
    assert (found["link"].issym(), found["link"].linkname) == (True, "lib/one.c")
    assert found["dangling"].linkname == "nowhere"
    assert found["main.c"].mtime == 1_000_000_000.25


def test_it_says_nothing_of_who_packed_it(repository):
    entry = members(repository)["main.c"]

    assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "")


def test_two_names_of_one_file_are_two_files(repository):
    os.link(repository / "main.c", repository / "same.c")

    assert members(repository)["same.c"].isreg()


@pytest.mark.parametrize(
    "name", ["grüße 🚀.txt", "two\nlines", "-rf", " a b ", '"quoted"', "x" * 200, b"latin\xe9"]
)
def test_a_name_may_be_anything(repository, name):
    path = repository / os.fsdecode(name)
    write(path, "here\n")

    assert content(repository, os.fsdecode(name)) == "here\n"
    assert problems_of([archive(repository)], NO_LIMIT) == []


def test_the_same_tree_gives_the_same_bytes(repository, monkeypatch):
    first = archive(repository)
    monkeypatch.setattr("time.time", lambda: 0)

    assert archive(repository) == first


# What stands in for something else


def test_what_was_below_a_directory_that_is_a_link_now_is_gone(repository, tmp_path):
    write(tmp_path / "elsewhere/one.c", "not ours\n")
    (repository / "lib/one.c").unlink()
    (repository / "lib").rmdir()
    (repository / "lib").symlink_to(tmp_path / "elsewhere")

    found = members(repository)

    assert set(found) == {"lib", "main.c"}
    assert found["lib"].issym()


def test_a_file_may_have_become_a_directory(repository):
    (repository / "main.c").unlink()
    write(repository / "main.c/inside.c")

    assert "main.c/inside.c" in members(repository)


# Repositories in it


@pytest.fixture
def with_submodule(repository, tmp_path) -> Path:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init")
    git(outer, "submodule", "add", str(repository), "vendor/hello")
    commit(outer)
    return outer


def test_a_submodule_comes_with_its_files_as_they_are(with_submodule):
    write(with_submodule / "vendor/hello/main.c", "changed\n")
    write(with_submodule / "vendor/hello/new.c")
    write(with_submodule / "vendor/hello/.gitignore", "*.o\n")
    write(with_submodule / "vendor/hello/main.o")

    found = members(with_submodule)

    assert found["vendor/hello"].isdir()
    assert {"vendor/hello/lib/one.c", "vendor/hello/new.c"} <= set(found)
    assert "vendor/hello/main.o" not in found
    assert "vendor/hello/.git" not in found
    assert content(with_submodule, "vendor/hello/main.c") == "changed\n"


def test_a_submodule_that_was_never_fetched_is_an_empty_directory(with_submodule, tmp_path):
    git(tmp_path, "clone", str(with_submodule), "fresh")

    found = members(tmp_path / "fresh")

    assert set(found) == {".gitmodules", "vendor/hello"}
    assert found["vendor/hello"].isdir()


def test_a_repository_that_is_no_submodule_comes_as_well(repository, tmp_path):
    git(repository, "clone", str(repository), "copy")

    assert "copy/lib/one.c" in members(repository)


def test_a_second_working_tree_is_one(repository, tmp_path):
    git(repository, "worktree", "add", str(tmp_path / "second"))
    write(tmp_path / "second/new.c")

    found = members(tmp_path / "second")

    assert set(found) == {"lib/one.c", "main.c", "new.c"}
    assert worktree.find(tmp_path / "second").name == "hello"


def test_a_hook_of_git_may_send_its_tree_or_another(with_submodule, repository, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(with_submodule / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(with_submodule / ".git/index"))

    assert "vendor/hello/lib/one.c" in members(with_submodule)
    assert list(members(repository)) == ["lib/one.c", "main.c"]


# What it is not


def test_outside_of_git_it_is_refused(tmp_path):
    with pytest.raises(OperatorError, match=r"is no working tree of git: not a git repository"):
        worktree.find(tmp_path)


def test_a_bare_repository_has_no_tree(tmp_path):
    git(tmp_path, "init", "--bare")

    with pytest.raises(OperatorError, match="must be run in a work tree"):
        worktree.find(tmp_path)


def test_a_tree_without_a_file_is_refused(tmp_path):
    git(tmp_path, "init")

    with pytest.raises(OperatorError, match="has no files"):
        archive(tmp_path)


def test_a_machine_without_git_is_one_sentence(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(OperatorError, match="git is not installed"):
        worktree.find(repository)


def test_a_file_that_is_cut_while_it_is_read_is_one_sentence(repository, monkeypatch):
    monkeypatch.setattr(worktree.os, "fstat", lambda _: os.lstat(repository))

    with pytest.raises(BuildsError, match=r"one\.c: became shorter while it was read"):
        archive(repository)


def test_a_tree_that_is_too_large_names_its_largest_files(repository):
    (repository / "lib/large.bin").write_bytes(os.urandom(200_000))
    tree = worktree.find(repository)
    file = io.BytesIO()

    with pytest.raises(worktree.TooLarge, match=r"more than 1,000 bytes.*: lib/large\.bin"):
        worktree.pack(tree, file, 1000)
    assert file.tell() <= 1000


# Where it goes


def named(repository: Path, *sources: str) -> str:
    manifest = MANIFEST.format(sources="".join(f"- {source}\n" for source in sources))
    return worktree.source_directory(worktree.find(repository), manifest)


def test_without_a_remote_it_has_the_name_of_its_directory(repository):
    assert named(repository, "https://example.org/other") == "hello"


@pytest.mark.parametrize(
    "remote",
    ["https://git.example.org/~ada/renamed", "git@git.example.org:~ada/renamed.git"],
)
def test_its_name_is_that_of_its_remote(repository, remote):
    git(repository, "remote", "add", "origin", remote)

    assert worktree.find(repository).name == "renamed"


def test_of_several_remotes_the_one_that_it_was_cloned_from_names_it(repository):
    git(repository, "remote", "add", "fork", "https://example.org/bob/fork")
    git(repository, "remote", "add", "origin", "https://example.org/ada/project")

    assert worktree.find(repository).name == "project"


def test_it_goes_where_the_manifest_clones_what_is_called_like_it(repository):
    assert named(repository, "https://example.org/x", "src::https://example.org/hello.git") == "src"


def test_the_source_that_is_one_of_its_remotes_wins_over_one_with_its_name(repository):
    git(repository, "remote", "add", "upstream", "git@example.org:ada/hello.git")

    directory = named(
        repository, "fork::https://example.org/bob/hello", "mine::https://example.org/ada/hello#v1"
    )

    assert directory == "mine"


def test_a_manifest_that_is_wrong_is_left_to_the_server(repository):
    assert worktree.source_directory(worktree.find(repository), "image: [") == "hello"
