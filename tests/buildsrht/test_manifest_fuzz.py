"""Whatever the text, `parse` returns a manifest or raises ManifestError, and soon."""

import time
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildsrht.manifest import MAX_CHARACTERS, Manifest, ManifestError, parse

KEYS = [field.name for field in fields(Manifest)] + ["to", "git.sr.ht", "<<"]
SCALARS = ["alpine/edge", "make", "42", "1.5", "yes", "~", "''", '"\\0"', "email", "*a", "!x y"]
TOKENS = [*SCALARS, *"[]{}:,-?&*!|>'\"%@#", ": ", "- ", "\n", "\n  ", "&a ", "*a", "<<: ", "---\n"]
MANIFEST = """\
image: alpine/edge
packages: &all [gcc, "make"]
environment: {A: 'b', C: *all}
tasks:
- build: |
    make
    make check
"""

yaml_like = st.lists(st.sampled_from(TOKENS + KEYS), max_size=60).map("".join)


def written_as_map(members: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in members.items()) + "}"


def written_as_list(items: list[str]) -> str:
    return "[" + ", ".join(items) + "]"


flow = st.recursive(
    st.sampled_from(SCALARS) | st.text(max_size=8).map(lambda text: f"'{text}'"),
    lambda inner: (
        st.lists(inner, max_size=4).map(written_as_list)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4).map(written_as_map)
    ),
    max_leaves=12,
)
manifest_like = st.dictionaries(st.sampled_from(KEYS), flow).map(
    lambda members: "\n".join(f"{key}: {value}" for key, value in members.items())
)


def refusal_of(text: str) -> ManifestError | None:
    try:
        assert isinstance(parse(text), Manifest)
    except ManifestError as refusal:
        return refusal
    return None


@settings(max_examples=400, deadline=1000)
@given(st.text() | yaml_like | manifest_like)
def test_any_text_is_a_manifest_or_a_list_of_problems_that_can_be_sent(text):
    if refusal := refusal_of(text):
        assert refusal.problems
        str(refusal).encode()


@given(yaml_like | manifest_like)
def test_problems_come_in_document_order(text):
    if refusal := refusal_of(text):
        places = [(problem.line or 0, problem.column or 0) for problem in refusal.problems]
        assert places == sorted(places)


@given(st.integers(0, len(MANIFEST)), st.integers(0, 40))
def test_a_manifest_with_a_hole_anywhere_is_still_judged(start, length):
    refusal_of(MANIFEST[:start] + MANIFEST[start + length :])


@pytest.mark.parametrize(
    "pattern",
    [
        "{a,",
        "[a,",
        "- a\n",
        "a: b\n",
        "? \n",
        "*a ",
        "&a ",
        "!",
        "%",
        "'",
        '"\\x41',
        "1:",
        "1_",
        "::",
        "a+",
        "a@a.",
        "git.sr.ht/A ",
        " ",
        "\n",
        "{}, ",
        "{action: email}, ",
        "{a: &a b, <<: *a}, ",
    ],
)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("image: a\nsources: [", "]"),
        ("image: a\nsources: ['", "']"),
        ("image: a\noauth: '", "'"),
        ("image: a\ntriggers: [", "]"),
        ("image: a\nenvironment: {A: &a [", "], B: *a, C: *a, D: *a}"),
    ],
)
def test_repetition_does_not_make_parsing_slow(before, pattern, after):
    room = MAX_CHARACTERS - len(before) - len(after)
    text = before + (pattern * room)[:room] + after

    began = time.thread_time()
    with pytest.raises(ManifestError):
        parse(text)
    assert time.thread_time() - began < 1
