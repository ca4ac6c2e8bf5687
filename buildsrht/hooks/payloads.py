"""Each forge's words for a push and for a pull request.

`read_event()` is given a report that has been proven genuine. Where the kind of a report stands in
a header, which no signature covers, the body has to look like that kind as well: a pull request
that was caught and sent again as a push would be built with secrets.

A body that is not as the forge sends it is BadInput; a report of something that is not built, or
that is about another repository, is Ignored.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from buildsrht.errors import BadInput, FieldError
from buildsrht.hooks import addresses
from buildsrht.hooks.event import Event, Ignored, Update, check_object, is_buildable, is_nothing
from buildsrht.hooks.signatures import Headers
from buildsrht.models import Forge, Hook
from buildsrht.services.hooks import check_repository

# A push may move many refs at once; there are not more jobs than this for all of them together.
MOST_REFS = 4
LARGEST_NUMBER = 2**31
REQUESTS_OFF = "this hook does not build pull requests"

# Half a character, which JSON can say and nothing can store.
_SURROGATE = re.compile("[\ud800-\udfff]")

Document = Mapping[str, Any]


def read_event(hook: Hook, headers: Headers, document: Document) -> Event | Ignored:
    return _READERS[hook.forge](hook, headers, document)


# --- GitHub, Gitea, Forgejo -------------------------------------------------------------------


def _read_github(hook: Hook, headers: Headers, document: Document) -> Event | Ignored:
    names = ("x-github-event", "x-gitea-event", "x-forgejo-event")
    kind = next((headers[name] for name in names if name in headers), "")
    is_request = "pull_request" in document
    if kind == "push" and not is_request:
        read = _github_push
    elif kind in ("pull_request", "pull_request_sync") and is_request:
        read = _github_request
    else:
        return Ignored(f"{kind[:40]!r} is not built")
    full_name = _text(document, "repository", "full_name")
    return _if_ours(hook, full_name) or read(hook, document)


def _github_push(hook: Hook, document: Document) -> Event | Ignored:
    return _pushed(_text(document, "ref"), "after", _text(document, "after"))


def _github_request(hook: Hook, document: Document) -> Event | Ignored:
    if not hook.pull_requests:
        return Ignored(REQUESTS_OFF)
    action = _text(document, "action")
    if action not in ("opened", "reopened", "synchronize", "synchronized"):
        return Ignored(f"a pull request that is {action[:40]!r} is not built")
    return _requested(
        hook,
        number=_number(document, "pull_request", "number"),
        commit=check_object("pull_request.head.sha", _at(document, "pull_request", "head", "sha")),
        head=_at(document, "pull_request", "head", "repo", "clone_url"),
    )


# --- GitLab -----------------------------------------------------------------------------------


def _read_gitlab(hook: Hook, headers: Headers, document: Document) -> Event | Ignored:
    kind = headers.get("x-gitlab-event", "")
    expected, read = _GITLAB.get(kind, ("", _gitlab_push))
    if _at(document, "object_kind") != expected:
        return Ignored(f"{kind[:40]!r} is not built")
    return _if_ours(hook, _text(document, "project", "path_with_namespace")) or read(hook, document)


def _gitlab_push(hook: Hook, document: Document) -> Event | Ignored:
    # Of a tag with a message `after` is the tag, and this the commit; null if the ref is gone.
    commit = _at(document, "checkout_sha")
    return _pushed(_text(document, "ref"), "checkout_sha", commit)


def _gitlab_request(hook: Hook, document: Document) -> Event | Ignored:
    if not hook.pull_requests:
        return Ignored(REQUESTS_OFF)
    action = _text(document, "object_attributes", "action")
    has_new_commits = action == "update" and _at(document, "object_attributes", "oldrev")
    if action not in ("open", "reopen") and not has_new_commits:
        return Ignored(
            f"a merge request with the action {action[:40]!r} and no commit is not built"
        )
    commit = _at(document, "object_attributes", "last_commit", "id")
    return _requested(
        hook,
        number=_number(document, "object_attributes", "iid"),
        commit=check_object("object_attributes.last_commit.id", commit),
        head=_at(document, "object_attributes", "source", "git_http_url"),
    )


_GITLAB: dict[str, tuple[str, Callable[[Hook, Document], Event | Ignored]]] = {
    "Push Hook": ("push", _gitlab_push),
    "Tag Push Hook": ("tag_push", _gitlab_push),
    "Merge Request Hook": ("merge_request", _gitlab_request),
}


# --- sourcehut --------------------------------------------------------------------------------


def _read_sourcehut(hook: Hook, headers: Headers, document: Document) -> Event | Ignored:
    """The answer to the query that docs/forges.md gives, or what the legacy webhooks send."""
    webhook = _at(document, "data", "webhook")
    if webhook is None:
        return _read_sourcehut_legacy(headers, document)
    if _text(document, "data", "webhook", "event") != "GIT_POST_RECEIVE":
        return Ignored("of git.sr.ht's events only GIT_POST_RECEIVE is built")
    updates = _at(document, "data", "webhook", "updates")
    return _moved(_sourcehut_updates("data.webhook.updates", updates, ("ref", "name")))


def _read_sourcehut_legacy(headers: Headers, document: Document) -> Event | Ignored:
    if headers.get("x-webhook-event") != "repo:post-update":
        return Ignored("of git.sr.ht's events only repo:post-update is built")
    if "skip-ci" in (_at(document, "push-options") or ()):
        return Ignored("it was pushed with -o skip-ci")
    return _moved(_sourcehut_updates("refs", _at(document, "refs"), ("name",)))


def _sourcehut_updates(
    field: str, updates: Any, ref_path: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    if not isinstance(updates, list):
        raise BadInput([FieldError(field, "must be a list")])
    for update in updates:
        new = _at(update, "new", "id")
        if new is not None:
            yield _text(update, *ref_path), check_object(f"{field}.new.id", new)


def _moved(updates: Iterator[tuple[str, str]]) -> Event | Ignored:
    found = [Update(ref, new) for ref, new in updates if is_buildable(ref) and not is_nothing(new)]
    if not found:
        return Ignored("no branch and no tag points to anything new")
    return Event(tuple(found[:MOST_REFS]))


# --- what they have in common -----------------------------------------------------------------


def _pushed(ref: str, field: str, object_id: str | None) -> Event | Ignored:
    if is_nothing(object_id):
        return Ignored("the ref was deleted")
    if not is_buildable(ref):
        return Ignored("only branches and tags are built")
    return Event((Update(ref, check_object(field, object_id)),))


def _requested(hook: Hook, number: int, commit: str, head: Any) -> Event | Ignored:
    if not isinstance(head, str):
        return Ignored("the fork is gone")
    head = check_repository("the clone URL of the fork", head)
    if not addresses.is_same_host(head, hook.repository):
        return Ignored("the fork is on another host")
    is_fork = not addresses.is_same_repository(head, hook.repository)
    update = Update(addresses.request_ref(hook.forge, number), commit)
    return Event((update,), request=number, head=head if is_fork else None)


def _if_ours(hook: Hook, full_name: str) -> Ignored | None:
    if addresses.is_called(hook.repository, full_name):
        return None
    return Ignored(f"it is about {full_name[:100]!r}, which is not the repository of this hook")


def _at(document: Any, *path: str) -> Any:
    """What is there, or None."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _text(document: Any, *path: str) -> str:
    value = _at(document, *path)
    if not isinstance(value, str) or _SURROGATE.search(value):
        raise BadInput([FieldError(".".join(path), "must be a string of whole characters")])
    return value


def _number(document: Any, *path: str) -> int:
    value = _at(document, *path)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < LARGEST_NUMBER:
        raise BadInput([FieldError(".".join(path), "must be a whole number above zero")])
    return value


_READERS: dict[Forge, Callable[[Hook, Headers, Document], Event | Ignored]] = {
    Forge.GITHUB: _read_github,
    Forge.GITEA: _read_github,
    Forge.GITLAB: _read_gitlab,
    Forge.SOURCEHUT: _read_sourcehut,
}
