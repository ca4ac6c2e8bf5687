"""What each forge's report comes down to, and what is not built."""

from dataclasses import replace

import pytest

from buildsrht.errors import BadInput
from buildsrht.hooks.event import Event, Ignored, Update
from buildsrht.hooks.payloads import read_event
from buildsrht.models import Forge, Hook
from tests.buildsrht.hooks.reports import (
    COMMIT,
    FORK,
    GONE,
    REPOSITORY,
    github_push,
    github_request,
    gitlab_push,
    gitlab_request,
    sourcehut_legacy_push,
    sourcehut_push,
)

MAIN = Event((Update("refs/heads/main", COMMIT),))
TAG = Event((Update("refs/tags/v1.0", COMMIT),))
LEGACY = {"x-webhook-event": "repo:post-update"}


def hook(forge, repository=REPOSITORY, pull_requests=True):
    return Hook(forge=Forge(forge), repository=repository, pull_requests=pull_requests)


def read(forge, document, kind=None, **options):
    headers = {
        "github": {"x-github-event": kind or "push"},
        "gitea": {"x-gitea-event": kind or "push"},
        "gitlab": {"x-gitlab-event": kind or "Push Hook"},
        "sourcehut": {"x-webhook-event": kind or "GIT_POST_RECEIVE"},
    }
    return read_event(hook(forge, **options), headers[forge], document)


# --- pushes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forge", "document", "kind", "event"),
    [
        ("github", github_push(), "push", MAIN),
        ("github", github_push(ref="refs/tags/v1.0"), "push", TAG),
        ("gitea", github_push(), "push", MAIN),
        ("gitlab", gitlab_push(), "Push Hook", MAIN),
        ("gitlab", gitlab_push("refs/tags/v1.0", kind="tag_push"), "Tag Push Hook", TAG),
        ("sourcehut", sourcehut_push(), None, MAIN),
        ("sourcehut", sourcehut_legacy_push(), "repo:post-update", MAIN),
    ],
)
def test_a_push_is_a_ref_and_its_commit(forge, document, kind, event):
    assert read(forge, document, kind) == event
    assert event.is_trusted


def test_the_commit_of_a_tag_with_a_message_is_taken_where_gitlab_tells_it():
    document = {**gitlab_push("refs/tags/v1.0", kind="tag_push"), "after": "f" * 40}

    assert read("gitlab", document, "Tag Push Hook") == TAG


def test_forgejo_has_a_header_of_its_own():
    headers = {"x-forgejo-event": "push"}

    assert read_event(hook("gitea"), headers, github_push()) == MAIN


def test_a_push_to_sourcehut_may_move_several_refs_of_which_four_count():
    updates = [(f"refs/heads/{number}", COMMIT) for number in range(6)]

    event = read("sourcehut", sourcehut_push(("refs/heads/gone", None), *updates))

    assert [update.ref for update in event.updates] == [ref for ref, _ in updates[:4]]


def test_an_event_survives_the_database():
    event = Event((Update("refs/pull/12/head", COMMIT),), request=12, head=FORK)

    assert Event.from_json(event.as_json()) == event


# --- what is not built ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forge", "document", "kind"),
    [
        ("github", {"zen": "Keep it simple.", "hook_id": 1}, "ping"),
        ("github", github_push(), "create"),
        ("github", github_push(commit=GONE), "push"),
        ("github", github_push(ref="refs/notes/commits"), "push"),
        ("github", github_push(ref="refs/heads/a..b"), "push"),
        ("github", github_push(ref="refs/heads/a\nb"), "push"),
        ("github", github_push(ref="refs/heads/a\x9b31mb"), "push"),
        ("github", github_push(ref="--upload-pack=x"), "push"),
        ("github", github_push(ref="refs/heads/" + "x" * 255), "push"),
        ("github", github_push(repository={"full_name": "eve/hello"}), "push"),
        ("gitea", github_push(commit=GONE), "push"),
        ("gitlab", gitlab_push(commit=None), "Push Hook"),
        ("gitlab", gitlab_push(), "System Hook"),
        ("gitlab", {**gitlab_push(), "project": {"path_with_namespace": "eve/hello"}}, "Push Hook"),
        ("sourcehut", sourcehut_push(("refs/heads/main", None)), None),
        ("sourcehut", sourcehut_push(("refs/heads/main", GONE)), None),
        ("sourcehut", {"data": {"webhook": {"event": "GIT_PRE_RECEIVE", "updates": []}}}, None),
        ("sourcehut", sourcehut_legacy_push(), "repo:update"),
        ("sourcehut", sourcehut_legacy_push(**{"push-options": {"skip-ci": ""}}), LEGACY),
    ],
)
def test_other_reports_are_ignored_with_the_reason(forge, document, kind):
    kind = "repo:post-update" if kind is LEGACY else kind

    assert isinstance(read(forge, document, kind), Ignored)


# --- pull requests ----------------------------------------------------------------------------

PULL = Event((Update("refs/pull/12/head", COMMIT),), request=12, head=FORK)
MERGE = Event((Update("refs/merge-requests/12/head", COMMIT),), request=12, head=FORK)


@pytest.mark.parametrize(
    ("forge", "document", "kind", "event"),
    [
        ("github", github_request("opened"), "pull_request", PULL),
        ("github", github_request("synchronize"), "pull_request", PULL),
        ("github", github_request("reopened"), "pull_request", PULL),
        ("gitea", github_request("synchronized"), "pull_request", PULL),
        ("gitea", github_request("synchronized"), "pull_request_sync", PULL),
        ("gitlab", gitlab_request("open"), "Merge Request Hook", MERGE),
        ("gitlab", gitlab_request("update", oldrev=GONE), "Merge Request Hook", MERGE),
    ],
)
def test_a_pull_request_is_a_ref_of_the_repository_and_a_fork(forge, document, kind, event):
    assert read(forge, document, kind) == event
    assert not event.is_trusted


@pytest.mark.parametrize("head", [REPOSITORY, REPOSITORY.removesuffix(".git")])
def test_a_pull_request_within_the_repository_is_no_more_trusted(head):
    event = read("github", github_request(head=head), "pull_request")

    assert event == replace(PULL, head=None)
    assert not event.is_trusted


@pytest.mark.parametrize(
    ("forge", "document", "kind"),
    [
        ("github", github_request("closed"), "pull_request"),
        ("github", github_request("edited"), "pull_request"),
        ("github", github_request(head=None), "pull_request"),
        ("github", github_request(head="https://evil.example.org/eve/hello"), "pull_request"),
        ("github", github_request(head="http://forge.example.org/eve/hello"), "pull_request"),
        ("gitlab", gitlab_request("update"), "Merge Request Hook"),
        ("gitlab", gitlab_request("merge"), "Merge Request Hook"),
        ("gitlab", gitlab_request(head=None), "Merge Request Hook"),
    ],
)
def test_what_else_happens_to_a_pull_request_is_ignored(forge, document, kind):
    assert isinstance(read(forge, document, kind), Ignored)


@pytest.mark.parametrize(
    ("forge", "document", "kind"),
    [
        ("github", github_request(), "pull_request"),
        ("gitea", github_request(), "pull_request"),
        ("gitlab", gitlab_request(), "Merge Request Hook"),
    ],
)
def test_pull_requests_are_built_only_if_the_hook_says_so(forge, document, kind):
    ignored = read(forge, document, kind, pull_requests=False)

    assert ignored == Ignored("this hook does not build pull requests")


@pytest.mark.parametrize(
    ("forge", "document", "kind"),
    [
        # No signature covers the header: with another one, a pull request is still none.
        ("github", {**github_request(), "ref": "refs/heads/main", "after": COMMIT}, "push"),
        ("gitea", {**github_request(), "ref": "refs/heads/main", "after": COMMIT}, "push"),
        ("gitlab", gitlab_request(), "Push Hook"),
        ("gitlab", {**gitlab_request(), "ref": "refs/heads/main"}, "Tag Push Hook"),
    ],
)
def test_a_pull_request_cannot_be_passed_off_as_a_push(forge, document, kind):
    assert isinstance(read(forge, document, kind), Ignored)


# --- what no forge sends ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forge", "document", "kind", "field"),
    [
        ("github", {}, "push", "repository.full_name"),
        ("github", github_push(repository=[]), "push", "repository.full_name"),
        ("github", {**github_push(), "ref": 5}, "push", "ref"),
        ("github", github_push(commit="x" * 40), "push", "after"),
        ("github", github_push(commit="--help"), "push", "after"),
        ("github", github_push(commit=COMMIT[:39]), "push", "after"),
        ("github", github_request(commit="HEAD"), "pull_request", "pull_request.head.sha"),
        ("github", github_request(number=0), "pull_request", "pull_request.number"),
        ("github", github_request(number=True), "pull_request", "pull_request.number"),
        ("github", github_request(head="file:///etc"), "pull_request", "the clone URL of the fork"),
        ("gitlab", {"object_kind": "push"}, "Push Hook", "project.path_with_namespace"),
        ("gitlab", gitlab_push(commit="x"), "Push Hook", "checkout_sha"),
        ("sourcehut", {"data": {"webhook": {}}}, None, "data.webhook.event"),
        ("sourcehut", sourcehut_push(("refs/heads/x", "x")), None, "data.webhook.updates.new.id"),
        ("sourcehut", {"refs": "x"}, "repo:post-update", "refs"),
        ("sourcehut", {"refs": [{"new": {"id": COMMIT}}]}, "repo:post-update", "name"),
    ],
)
def test_a_report_that_no_forge_would_send_is_refused_by_name(forge, document, kind, field):
    with pytest.raises(BadInput) as refused:
        read(forge, document, kind)
    assert [error.field for error in refused.value.errors] == [field]
