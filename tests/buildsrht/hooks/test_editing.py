"""A manifest that builds the commit it came from, and is otherwise what its author wrote."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsrht.hooks.editing import Clone, edit
from buildsrht.manifest import ManifestError, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
URL = "https://git.example.org/~ada/hello"
OTHER_CASE = "https://git.example.org/~Ada/Hello"
CLONE = Clone(URL, "hello", URL, COMMIT)
VARIABLES = {"BUILD_SUBMITTER": "git.sr.ht", "GIT_REF": "refs/heads/main"}
REST = "image: debian\ntasks:\n- build: make\n"


def edited(text, clone=CLONE, variables=VARIABLES):
    return edit(text, parse(text), clone, variables)


def sources(text, clone=CLONE):
    return [
        (source.directory, f"{source.url}#{source.ref}")
        for source in parse(edited(text + REST, clone)).sources
    ]


PINNED = ("hello", f"{URL}#{COMMIT}")


# --- sources ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", [PINNED]),
        ("sources:\n", [PINNED]),
        ("sources: []\n", [PINNED]),
        (f"sources: [{URL}]\n", [PINNED]),
        (f"sources: ['{URL}#main']\n", [PINNED]),
        (f"sources: [git+{URL}.git]\n", [PINNED]),
        ("sources: ['https://git.example.org/~upstream/hello']\n", [PINNED]),
        ("sources: ['git@git.example.org:~ada/hello']\n", [PINNED]),
        (f"sources: [{OTHER_CASE}]\n", [("Hello", PINNED[1])]),
        (
            f"sources: [https://a.org/Hello, {URL}]\n",
            [("Hello", "https://a.org/Hello#None"), PINNED],
        ),
        (f"sources: ['deep/er::{URL}#main']\n", [("deep/er", PINNED[1])]),
        (
            f"sources: [https://a.org/x#1, {URL}, 'https://a.org/y#2']\n",
            [("x", "https://a.org/x#1"), PINNED, ("y", "https://a.org/y#2")],
        ),
        (
            "sources: ['https://a.org/other#1']\n",
            [("other", "https://a.org/other#1"), PINNED],
        ),
        (
            f"sources: ['fork::https://a.org/hello#1', {URL}]\n",
            [("fork", "https://a.org/hello#1"), PINNED],
        ),
    ],
)
def test_the_repository_is_among_the_sources_at_the_commit(written, expected):
    assert sources(written) == expected


def test_a_repository_of_another_kind_is_not_ours_but_may_be_in_its_place():
    with pytest.raises(ManifestError, match="the directory 'hello' is taken"):
        sources("sources: ['hg+https://hg.example.org/hello#1']\n")


def test_a_fork_goes_where_the_repository_would():
    fork = replace(CLONE, url="https://git.example.org/~eve/hello-2.git")

    assert sources(f"sources: [{URL}]\n", fork) == [("hello", f"{fork.url}#{COMMIT}")]
    assert sources("", fork) == [("hello", f"{fork.url}#{COMMIT}")]


def test_a_private_repository_is_cloned_by_ssh():
    private = replace(CLONE, url="git+ssh://git@git.example.org/~ada/hello", is_private=True)

    assert sources("", private) == [("hello", f"ssh://git@git.example.org/~ada/hello#{COMMIT}")]


def test_an_author_who_knows_the_way_by_ssh_is_believed():
    private = replace(CLONE, url="git+ssh://git@git.example.org/~ada/hello", is_private=True)
    known = "ssh://git@git.example.org:2222/~ada/hello"

    assert sources(f"sources: ['{known}#main']\n", private) == [("hello", f"{known}#{COMMIT}")]


# --- variables and shell ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "own"),
    [
        ("", {}),
        ("environment:\n", {}),
        ("environment: {VERSION: 1.10, FLAG: yes, LIST: [a, b]}\n", None),
        ("environment: {GIT_REF: refs/heads/lie, GIT_REF_2: x}\n", {"GIT_REF_2": "x"}),
    ],
)
def test_variables_are_set_over_those_of_the_manifest(written, own):
    own = {"VERSION": "1.10", "FLAG": "yes", "LIST": ("a", "b")} if own is None else own

    assert dict(parse(edited(written + REST)).environment) == {**own, **VARIABLES}


@pytest.mark.parametrize("value", ["12", "yes", "~", "", "- a", "a: b", "#x", "'", "ä", "[x"])
def test_a_variable_is_text_whatever_it_looks_like(value):
    found = parse(edited(REST, variables={"X": value})).environment

    assert found["X"] == value


@pytest.mark.parametrize("written", ["shell: true\n", "x: &x {shell: yes}\n<<: *x\n"])
def test_nobody_waits_for_a_machine_that_a_push_started(written):
    assert parse(written + REST).shell
    assert not parse(edited(written + REST)).shell


# --- all else stays ---------------------------------------------------------------------------

WRITTEN = """\
# A comment.
image: "debian/stable"
arch: amd64
x-common: &common
  A: 1.10
  B: 010
  C: 2001-01-01
environment:
  <<: *common
  D: !!str 5
  E: ! 12
  F: ~
  G: =
  H: 0x1F
  I: 1_000
  J: 12:30
packages: [gcc, "g++"]
repositories: {a: "http://a.org/ x y"}
secrets: [dead-beef]
artifacts:
- ä.txt
tasks:
- one: |
    echo  "two  spaces"  \x20
    \techo tab

    true
- two: >
    folded
    text
- three: 'it''s "quoted" and rather long: %s'
- five: ! 1.10
- four: "\\u263a \\x07 \\\\"
triggers:
- {action: email, condition: failure, to: Ada <ada@example.org>}
submitter:
  git.sr.ht: {enabled: true, allow-refs: [refs/heads/*]}
""" % ("word " * 60)


@pytest.mark.parametrize("text", [WRITTEN, WRITTEN.replace("\n", "\r\n"), REST])
def test_all_else_is_what_its_author_wrote(text):
    before, after = parse(text), parse(edited(text))

    assert after == replace(before, sources=after.sources, environment=after.environment)
    assert after.environment == {**before.environment, **VARIABLES}


@pytest.mark.parametrize(
    "written",
    [
        "triggers: [{action: email, condition: always, to: eve@example.org}]\n",
        "x: &x {triggers: [{action: webhook, condition: always, url: https://a.org}]}\n<<: *x\n",
    ],
)
def test_triggers_are_taken_out_where_the_author_may_be_anybody(written):
    text = written + REST

    assert parse(edited(text)).triggers == parse(text).triggers != ()
    assert parse(edit(text, parse(text), CLONE, VARIABLES, keep_triggers=False)).triggers == ()


def test_a_script_stays_readable_and_no_longer_than_it_was():
    script = "- deploy: |\n    echo 🚀 up\n    make deploy\n"
    text = f"image: debian\ntasks:\n{script}"

    assert script in edited(text)


def test_what_an_alias_shares_is_changed_in_one_place_only():
    text = (
        "environment: &pairs {A: b}\nrepositories: *pairs\n"
        "packages: &names [https://a.org/x]\nsources: *names\n"
    )

    after = parse(edited(text + REST))

    assert after.repositories == {"A": "b"}
    assert after.packages == ("https://a.org/x",)
    assert after.environment == {"A": "b", **VARIABLES}
    assert len(after.sources) == 2


def test_what_was_merged_in_is_added_to():
    text = "x: &x {environment: {A: b}, sources: [https://a.org/x]}\n<<: [*x]\n"

    after = parse(edited(text + REST))

    assert after.environment == {"A": "b", **VARIABLES}
    assert [source.directory for source in after.sources] == ["x", "hello"]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_a_script_is_what_it_was_to_the_letter(script):
    text = f"image: debian\ntasks:\n- build: {quoted(script)}\n"
    if not is_manifest(text):
        return
    assert parse(edited(text)).tasks == parse(text).tasks


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def is_manifest(text):
    try:
        parse(text)
    except ManifestError:
        return False
    return True
