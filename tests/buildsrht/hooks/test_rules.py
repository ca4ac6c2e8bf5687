"""Who wants to be built, and what the job is called."""

import pytest

from buildsrht.hooks import rules
from buildsrht.hooks.event import Event, Update
from buildsrht.hooks.fetching import Commit
from buildsrht.manifest import parse
from buildsrht.models import Forge, Hook
from buildsrht.services.jobs import check_note, check_tags
from tests.buildsrht.hooks.reports import COMMIT, FORK, REPOSITORY

PUSH = Event((Update("refs/heads/main", COMMIT),))
REQUEST = Event((Update("refs/pull/12/head", COMMIT),), request=12, head=FORK)
REST = "image: debian\ntasks:\n- build: make\n"


def hook(forge="github"):
    return Hook(forge=Forge(forge), repository=REPOSITORY)


@pytest.mark.parametrize(
    ("message", "skipped"),
    [
        ("Fix", False),
        ("Fix [skip ci]", True),
        ("Fix\n\nlong story [CI SKIP] end", True),
        ("[no ci]", True),
        ("***NO_CI***", True),
        ("skip ci", False),
    ],
)
def test_a_message_may_ask_not_to_be_built(message, skipped):
    assert rules.asks_to_be_skipped(message) is skipped


@pytest.mark.parametrize(
    ("submitter", "forge", "ref", "wanted"),
    [
        ("", "github", "refs/heads/main", True),
        ("github: {enabled: false}", "github", "refs/heads/main", False),
        ("github: {enabled: false}", "gitlab", "refs/heads/main", True),
        ("github: {enabled: false, allow-refs: ['*']}", "github", "refs/heads/main", False),
        ("github: {allow-refs: [refs/heads/main]}", "github", "refs/heads/main", True),
        ("github: {allow-refs: [refs/heads/main]}", "github", "refs/heads/other", False),
        ("github: {allow-refs: [refs/heads/main]}", "github", "refs/pull/12/head", False),
        (
            "github: {allow-refs: ['refs/heads/rel-*', 'refs/tags/*']}",
            "github",
            "refs/tags/1",
            True,
        ),
        ("github: {allow-refs: [main]}", "github", "refs/heads/main", False),
        ("github: {allow-refs: [refs/heads/Main]}", "github", "refs/heads/main", False),
        ("github: {allow-refs: []}", "github", "refs/heads/main", False),
        ("gitea: ", "gitea", "refs/heads/main", True),
        ("git.sr.ht: {enabled: false}", "sourcehut", "refs/heads/main", False),
        ("hub.sr.ht: {enabled: false}", "sourcehut", "refs/heads/main", True),
        # A manifest that came from there means all pushes; a rule of the forge's own goes first.
        ("git.sr.ht: {enabled: false}", "github", "refs/heads/main", False),
        ("git.sr.ht: {enabled: false}, github: {}", "github", "refs/heads/main", True),
    ],
)
def test_a_manifest_says_which_pushes_it_wants(submitter, forge, ref, wanted):
    manifest = parse(f"submitter: {{{submitter}}}\n{REST}")

    assert rules.wants(manifest, Forge(forge), ref) is wanted


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        ("github", {"BUILD_SUBMITTER": "github", "BUILD_REASON": "github-commit"}),
        ("gitlab", {"BUILD_SUBMITTER": "gitlab", "BUILD_REASON": "gitlab-commit"}),
        ("gitea", {"BUILD_SUBMITTER": "gitea", "BUILD_REASON": "gitea-commit"}),
        ("sourcehut", {"BUILD_SUBMITTER": "git.sr.ht"}),
    ],
)
def test_a_build_learns_who_submitted_it_and_for_which_ref(forge, expected):
    found = rules.variables(hook(forge), PUSH, "refs/heads/main")

    assert found == {**expected, "GIT_REF": "refs/heads/main"}


@pytest.mark.parametrize(
    ("forge", "reason", "page"),
    [
        ("github", "github-pr", "https://forge.example.org/ada/hello/pull/12"),
        ("gitlab", "gitlab-mr", "https://forge.example.org/ada/hello/-/merge_requests/12"),
        ("gitea", "gitea-pr", "https://forge.example.org/ada/hello/pulls/12"),
    ],
)
def test_a_build_of_a_pull_request_learns_which(forge, reason, page):
    found = rules.variables(hook(forge), REQUEST, "refs/pull/12/head")

    assert found == {
        "BUILD_SUBMITTER": forge,
        "BUILD_REASON": reason,
        "GIT_REF": "refs/pull/12/head",
        "PULL_REQUEST_ID": "12",
        "PULL_REQUEST_URL": page,
    }


@pytest.mark.parametrize(
    ("event", "ref", "path", "tags"),
    [
        (PUSH, "refs/heads/main", ".build.yml", ["hello", "commits", "main", ".build.yml"]),
        (PUSH, "refs/tags/v1.0", ".builds/a.yml", ["hello", "commits", "v1.0", "a.yml"]),
        (PUSH, "refs/heads/Ä/b c", ".builds/Ö.yml", ["hello", "commits", "-b-c", "-.yml"]),
        (REQUEST, "refs/pull/12/head", ".build.yml", ["hello", "pulls", "12", ".build.yml"]),
    ],
)
def test_tags_are_a_path_that_the_api_allows(event, ref, path, tags):
    found = rules.tags(hook(), event, ref, path)

    assert found == tags
    assert check_tags(found) == found


def test_a_tag_is_never_too_long():
    assert check_tags(rules.tags(hook(), PUSH, "refs/heads/" + "x" * 240, "y" * 300))


def test_the_note_links_to_the_commit_and_shows_its_words_as_text():
    words = Commit(COMMIT, "<b>E</b>", "![x](http://evil/) `a` https://evil # *b*\x1b[0m\n\nmore")

    said = rules.note(hook(), PUSH, words, ["Notice."])

    link = f"[0123456789ab](https://forge.example.org/ada/hello/commit/{COMMIT})"
    assert said == (
        rf"{link} \!\[x\]\(http\:\/\/evil\/\) \`a\` https\:\/\/evil \# \*b\* \[0m, "
        r"by \<b\>E\<\/b\>"
        "\n\nNotice."
    )


def test_words_cannot_turn_around_what_stands_behind_them():
    words = Commit(COMMIT, "Eve", "harmless \u202emoor ni\u2066 \u200f")

    assert rules.note(hook(), PUSH, words, []).endswith(") harmless  moor ni, by Eve")


def test_the_note_of_a_pull_request_links_to_that_and_to_the_fork():
    said = rules.note(hook(), REQUEST, Commit(COMMIT, "Eve", "Better"), [])

    assert f"https://forge.example.org/eve/hello/commit/{COMMIT}" in said
    assert "https://forge.example.org/ada/hello/pull/12" in said


def test_a_note_is_never_too_long():
    words = Commit(COMMIT, "*" * 10_000, "*" * 10_000)

    assert check_note(rules.note(hook(), REQUEST, words, []))
