"""A working tree of git as it is, packed for a build: what `git add --all` would put in a commit.

That is every file that git knows or would learn of: changed or not, committed or not. What it
ignores stays out, and so does what was deleted, and the repository itself. Submodules come with
their files.

Two trees that are alike give the same bytes.
"""

import gzip
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

from buildsrht.errors import BuildsError, OperatorError

ORIGIN = "remote.origin.url"
GITLINK = b"160000"
LARGEST_NAMED = 3
# What git tells its hooks about one repository, while we look at a directory, and at submodules.
ELSEWHERE = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"),
    *("GIT_PREFIX", "GIT_NAMESPACE"),
)


class TooLarge(BuildsError):
    """More than the server takes."""


@dataclass(frozen=True)
class WorkingTree:
    root: Path
    remotes: tuple[str, ...]  # where it comes from and goes to
    name: str  # what the repository is called, whatever this directory is


def find(directory: Path) -> WorkingTree:
    """The working tree that a directory is in."""
    lines = _git(directory, "rev-parse", "--show-toplevel", "--git-common-dir").splitlines()
    root, repository = Path(os.fsdecode(lines[0])), Path(os.fsdecode(lines[1]))
    remotes = _remotes(directory)
    name = _name(root, directory / repository, remotes)
    return WorkingTree(root, tuple(remotes.values()), name)


def _remotes(directory: Path) -> dict[str, str]:
    """Their addresses, by the names of the settings."""
    pattern = r"^remote\..*\.url$"
    settings = _git(directory, "config", "--get-regexp", pattern, may_fail=True)
    pairs = (line.partition(" ") for line in settings.decode(errors="replace").splitlines())
    return {name: address for name, _, address in pairs}


def _name(root: Path, repository: Path, remotes: Mapping[str, str]) -> str:
    if remotes:
        return _basename(remotes.get(ORIGIN) or next(iter(remotes.values())))
    # One of several working trees may be called anything.
    repository = repository.resolve()
    return repository.parent.name if repository.name == ".git" else root.name


def source_directory(tree: WorkingTree, manifest: str) -> str:
    """Where a build expects this repository: where its manifest clones it, or else its name."""
    from buildsrht.manifest import ManifestError, parse

    try:
        sources = parse(manifest).sources
    except ManifestError:
        return tree.name  # the server says what is wrong, of all of the manifest
    remotes = {_place(remote) for remote in tree.remotes}
    same = [source for source in sources if _place(source.url) in remotes]
    named = [source for source in sources if _basename(source.url) == tree.name]
    return next((source.directory for source in [*same, *named]), tree.name)


def _place(url: str) -> str:
    """Host and path, by which two ways to the same repository can be told to be that."""
    _, _, rest = url.rpartition("://")
    place = rest.rpartition("@")[2].replace(":", "/", 1)
    return place.rstrip("/").removesuffix(".git").lower()


def _basename(url: str) -> str:
    return url.rstrip("/").replace(":", "/").rpartition("/")[2].removesuffix(".git")


def pack(tree: WorkingTree, file: BinaryIO, limit: int) -> None:
    """Write the tree as a compressed tar archive. Raises TooLarge when it exceeds `limit` bytes."""
    root = os.fsencode(tree.root)
    paths = _paths(root)
    bounded = cast(BinaryIO, _Bounded(file, limit))
    try:
        with (
            gzip.GzipFile(filename="", mode="wb", fileobj=bounded, mtime=0) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in paths:
                _add(archive, root, path)
    except _Exceeded:
        raise TooLarge(
            f"{tree.root}: is more than {limit:,} bytes, compressed, the most that the server "
            f"takes. The largest files: {', '.join(_largest(root, paths))}. What .gitignore names "
            "is left out."
        ) from None


def _largest(root: bytes, paths: Iterable[bytes]) -> list[str]:
    def size(path: bytes) -> int:
        place = os.path.join(root, path)
        return os.lstat(place).st_size if os.path.lexists(place) else 0

    return [os.fsdecode(path) for path in sorted(paths, key=size, reverse=True)[:LARGEST_NAMED]]


def _paths(root: bytes) -> list[bytes]:
    paths = sorted(set(_present(root)))  # a file in a conflict is there several times
    if not paths:
        raise OperatorError(f"{os.fsdecode(root)}: has no files")
    return paths


def _add(archive: tarfile.TarFile, root: bytes, path: bytes) -> None:
    place = os.path.join(root, path)
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        return  # gone since git told us
    entry = tarfile.TarInfo(os.fsdecode(path))
    entry.mode = stat.S_IMODE(found.st_mode)
    entry.mtime = found.st_mtime
    if stat.S_ISLNK(found.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.fsdecode(os.readlink(place))
        archive.addfile(entry)
    elif stat.S_ISDIR(found.st_mode):
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    elif stat.S_ISREG(found.st_mode):
        with open(place, "rb") as content:
            entry.size = os.fstat(content.fileno()).st_size
            try:
                archive.addfile(entry, content)
            except OSError as error:
                if error.errno:
                    raise
                shorter = f"{os.fsdecode(place)}: became shorter while it was read; try again"
                raise BuildsError(shorter) from error


def _present(root: bytes, inside: bytes = b"") -> Iterator[bytes]:
    """Each path, from the root on, that git knows or would learn of, and that may be there."""

    @cache
    def is_link(directory: bytes) -> bool:
        return os.path.islink(os.path.join(root, inside, directory))

    def is_beyond_link(path: bytes) -> bool:
        # A directory that was replaced by a link: what git knows below it is gone.
        above = path.split(b"/")[:-1]
        return any(is_link(b"/".join(above[: depth + 1])) for depth in range(len(above)))

    for path, is_repository in _listed(os.path.join(root, inside)):
        if is_beyond_link(path):
            continue
        yield os.path.join(inside, path)
        if is_repository and not is_link(path):
            yield from _below(root, os.path.join(inside, path))


def _below(root: bytes, repository: bytes) -> Iterator[bytes]:
    # Without it, it is a submodule that nobody asked for yet: an empty directory.
    if os.path.lexists(os.path.join(root, repository, b".git")):
        yield from _present(root, repository)


def _listed(root: bytes) -> Iterator[tuple[bytes, bool]]:
    """What `git add --all` would look at, and whether each is another repository."""
    place = Path(os.fsdecode(root))
    for entry in _git(place, "ls-files", "-z", "--stage").split(b"\0")[:-1]:
        facts, _, path = entry.partition(b"\t")
        yield path, facts.startswith(GITLINK)
    others = _git(place, "ls-files", "-z", "--others", "--exclude-standard")
    for path in others.split(b"\0")[:-1]:
        yield path.rstrip(b"/"), path.endswith(b"/")


def _git(directory: Path, *arguments: str, may_fail: bool = False) -> bytes:
    environment = {name: text for name, text in os.environ.items() if name not in ELSEWHERE}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=directory, env=environment, capture_output=True
        )
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        raise OperatorError("git is not installed, which knows what belongs to a tree") from error
    if done.returncode and not may_fail:
        reason = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise OperatorError(f"{directory}: is no working tree of git: {reason}")
    return done.stdout


class _Exceeded(Exception):
    """Too many bytes were written."""


class _Bounded:
    """A file that takes so many bytes: what of a file gzip needs, and no more."""

    def __init__(self, file: BinaryIO, limit: int):
        self._file = file
        self._left = limit

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise _Exceeded
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
