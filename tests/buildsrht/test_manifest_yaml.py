"""Manifests as YAML: what of the language is understood, and how the rest is refused."""

import pytest

from buildsrht.manifest import ManifestError, Task, parse


def job(more: str) -> str:
    return f"image: alpine/edge\nshell: true\n{more}"


def problems_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as refusal:
        parse(text)
    return [str(problem) for problem in refusal.value.problems]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (
            "image: a\n- b",
            (
                "not valid YAML: did not find expected key while parsing a block mapping"
                " that begins on line 1 (line 2, column 1)"
            ),
        ),
        (
            "image: a: b",
            "not valid YAML: mapping values are not allowed in this context (line 1, column 9)",
        ),
        (
            "tasks:\n\t- a: b",
            (
                "not valid YAML: found character that cannot start any token"
                " while scanning for the next token (line 2, column 1)"
            ),
        ),
        (
            "image: 'a\nshell: true\n",
            (
                "not valid YAML: found unexpected end of stream while scanning a quoted scalar"
                " that begins on line 1 (line 3, column 1)"
            ),
        ),
        (
            "image: a\ntasks: [\x07]",
            r"not valid YAML: the character '\x07' is not allowed (line 2, column 9)",
        ),
        ("\0", r"not valid YAML: the character '\x00' is not allowed (line 1, column 1)"),
        ("a: \ud800", r"not valid YAML: the character '\ud800' is not allowed (line 1, column 4)"),
        (
            "image: a\nshell: true\n---\nimage: b",
            "a second YAML document begins here (line 3, column 1)",
        ),
    ],
)
def test_what_is_not_yaml_is_refused_at_its_place(manifest, problem):
    assert problems_of(manifest) == [problem]


def test_columns_count_characters_not_bytes():
    assert problems_of(job("x: {é𝄞: {a: 1, a: 2}}")) == [
        "x['é𝄞'].a: given twice (line 3, column 16)"
    ]


@pytest.mark.parametrize("prefix", ["\ufeff", "---\n", "%YAML 1.1\n---\n", "# hello\n"])
def test_the_ways_to_begin_a_document_are_all_accepted(prefix):
    assert parse(prefix + job("")).shell


def test_windows_line_ends_are_line_ends():
    manifest = "image: alpine/edge\r\ntasks:\r\n- build: |\r\n    make\r\n    make check\r\n"
    assert parse(manifest).tasks == (Task("build", "make\nmake check\n"),)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("image: b", "image: given twice (line 3, column 1)"),
        ("x: [{a: 1, a: 1}]", "x[0].a: given twice (line 3, column 12)"),
        (
            "environment: {yes: 1}",
            (
                "environment: the key 'yes' is bool to YAML, not a string; quote it"
                " (line 3, column 15)"
            ),
        ),
        ("42: x", "the key '42' is int to YAML, not a string; quote it (line 3, column 1)"),
        ("? [a]\n: x", "a key must be a string, not a list or a mapping (line 3, column 3)"),
        ("x: !!python/object:os.system {}", "x: the tag '!!python/object:os.system' is not"),
        ("x: !secret y", "x: the tag '!secret' is not allowed here (line 3, column 4)"),
        ("x: !!binary aGk=", "x: the tag '!!binary' is not allowed here (line 3, column 4)"),
        ("x: !!map [a]", "x: the tag '!!map' is not allowed here (line 3, column 4)"),
        ('x: "a\\0b"', "x: may not contain a NUL character (line 3, column 4)"),
        ("x: *a", "x: the alias *a has no anchor before it (line 3, column 4)"),
        ("x: &a [*a]", "x[0]: the alias *a stands inside its own anchor (line 3, column 8)"),
        ("<<: [1]", "['<<']: only mappings can be merged (line 3, column 6)"),
    ],
)
def test_what_has_no_clear_meaning_is_refused_even_under_keys_that_are_ignored(more, problem):
    [found] = problems_of(job(more))
    assert found.startswith(problem)


def test_a_node_refused_as_yaml_is_not_refused_again_for_its_type():
    assert problems_of("image: *nowhere\ntasks: [{1: make}, !x {}, {build: !y make}]") == [
        "image: the alias *nowhere has no anchor before it (line 1, column 8)",
        "tasks[0]: the key '1' is int to YAML, not a string; quote it (line 2, column 10)",
        "tasks[1]: the tag '!x' is not allowed here (line 2, column 20)",
        "tasks[2].build: the tag '!y' is not allowed here (line 2, column 35)",
    ]


@pytest.mark.parametrize("written", ["!!str 42", "! 42", "'42'", '"42"'])
def test_a_number_can_be_made_a_string(written):
    assert parse(job(f"packages: [{written}]")).packages == ("42",)


# Anchors.


def test_an_alias_repeats_what_was_anchored():
    manifest = job("packages: &all [gcc, make]\nenvironment: {ALL: *all}")
    assert parse(manifest).environment == {"ALL": ("gcc", "make")}


def test_written_keys_win_over_merged_ones_and_earlier_merges_over_later():
    manifest = job(
        "x: [&a {A: a, B: a, C: a}, &b {C: b, D: b}]\nenvironment: {<<: [*a, *b], A: own}"
    )
    assert parse(manifest).environment == {"A": "own", "B": "a", "C": "a", "D": "b"}


def test_a_problem_with_an_alias_is_placed_where_the_alias_is():
    assert problems_of(job("x: &it 42\npackages:\n- *it")) == [
        "packages[0]: must be a string (line 5, column 3)"
    ]


# Hostile text.


def test_aliases_cannot_expand_without_end():
    levels = ["a0: &a0 x"] + [f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]" for n in range(1, 10)]
    assert problems_of(job("\n".join(levels))) == [
        "a5[1]: expands to more than 16,384 values (line 8, column 15)"
    ]


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "[{", "!!seq ["])
def test_nesting_is_bounded(opening):
    [problem] = problems_of((opening * 16_383)[:16_383])
    assert "nested more than 16 levels deep" in problem
