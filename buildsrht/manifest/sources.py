"""The grammar of one source: `[directory::][scm+]url[#ref]`.

Every part ends up as an argument of git or hg, so none may look like an option.
"""

import re
from collections.abc import Callable
from posixpath import normpath

from buildsrht.manifest.model import Source
from buildsrht.manifest.texts import LONGEST_PATH, LONGEST_URL, line, one_of, split_url, word

_SCHEMES = ("https", "http", "git", "ssh", "file")

# A "::" behind a "[" belongs to an IPv6 address, and one behind a "#" to the ref.
_SOURCE = re.compile(
    r"(?:(?P<directory>[^\[#]*?)::)?(?:(?P<scm>[a-z]+)\+)?(?P<url>[^#]*)(?:#(?P<ref>.*))?",
    re.DOTALL,
)
_SSH = re.compile(r"[\w.+-]+@(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\]):(?P<path>.+)")


def parse_source(text: str) -> Source:
    """Read one source, or raise ValueError with the reason to refuse it."""
    parts = _SOURCE.fullmatch(text)
    assert parts, "any text matches; it is for the rules below to judge the parts"
    directory, scm, url, ref = parts.group("directory", "scm", "url", "ref")

    path = _part("url", _path_of, url)
    if scm is not None:
        _part("scm", one_of("git", "hg"), scm)
    if ref is not None:
        _part("ref", _ref, ref)
    if directory is None:
        directory = _part("url", _repository_of, path)
    _part("directory", inside_home, directory)
    return Source(url, scm or "git", directory, ref)


def clone_path(source: Source) -> str:
    """Where a source is cloned to, spelled in the one way that two can be compared by."""
    return normpath(source.directory)


def _part(name: str, rule: Callable[[str], str], text: str) -> str:
    try:
        return rule(text)
    except ValueError as unfit:
        raise ValueError(f"the {name} {unfit}") from None


def _path_of(url: str) -> str:
    word(url, longest=LONGEST_URL)
    if "://" in url:
        return split_url(url, _SCHEMES).path
    if ssh := _SSH.fullmatch(url):
        return ssh["path"]
    raise ValueError("must be like https://host/path or user@host:path")


def _ref(text: str) -> str:
    return word(text, longest=255)


def _repository_of(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    if not name:
        raise ValueError("names no repository")
    return name


def inside_home(directory: str) -> str:
    """The rule for a directory that something is put into."""
    line(directory, longest=LONGEST_PATH)
    if directory.startswith("-"):
        raise ValueError("may not begin with -")
    if directory.startswith("/") or ".." in directory.split("/") or normpath(directory) == ".":
        raise ValueError("must be inside the home directory")
    return directory
