"""The URL of a repository, and what can be told from it: its name, its pages, its other URLs.

Knows how each forge lays out its pages; asks nobody. Takes URLs that `check_repository` has let
pass.
"""

from urllib.parse import urlsplit

from buildsrht.models import Forge

_COMMIT = {Forge.GITLAB: "/-/commit/"}
_REQUEST = {
    Forge.GITHUB: "/pull/",
    Forge.GITLAB: "/-/merge_requests/",
    Forge.GITEA: "/pulls/",
}
_REQUEST_REF = {Forge.GITLAB: "refs/merge-requests/{}/head"}


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def name_of(url: str) -> str:
    return _page(url).rpartition("/")[2]


def is_same_host(url: str, other: str) -> bool:
    return urlsplit(url)[:2] == urlsplit(other)[:2]


def is_same_repository(url: str, other: str) -> bool:
    return _plain(url) == _plain(other)


def is_called(url: str, full_name: str) -> bool:
    """Whether a forge means this repository by `owner/name`. The forge may be in a directory."""
    return f"/{_plain(url)}".endswith(f"/{full_name.strip('/').lower()}")


def commit_page(forge: Forge, url: str, commit: str) -> str:
    return _page(url) + _COMMIT.get(forge, "/commit/") + commit


def request_page(forge: Forge, url: str, number: int) -> str:
    return f"{_page(url)}{_REQUEST[forge]}{number}"


def request_ref(forge: Forge, number: int) -> str:
    """Where a forge keeps the commit of a pull request, in the repository that it asks."""
    return _REQUEST_REF.get(forge, "refs/pull/{}/head").format(number)


def ssh_url(url: str) -> str:
    """The same repository by ssh, on the usual port: how a job reaches one that is private."""
    parts = urlsplit(url)
    return f"git+ssh://git@{parts.hostname}{parts.path}"


def _page(url: str) -> str:
    return url.removesuffix(".git")


def _plain(url: str) -> str:
    parts = urlsplit(_page(url).lower())
    return f"{parts.netloc}{parts.path}"
