"""A log as lines."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildsrht.logs import CHUNK, LogView
from buildsrht.marks import Marker, Marks
from buildsrht.services import log_lines
from buildsrht.services.log_lines import (
    LINE_BYTES,
    WINDOW_BYTES,
    count_lines,
    find,
    find_commands,
    find_error,
    read_lines,
)
from buildsrht.terminal import COLUMNS


def log_of(*writes, marked=True, chunk=CHUNK, lines=None):
    """A log in memory that came in these pieces, one second after the other."""
    marker, data = Marker(), b"".join(writes)
    packed = b"".join(marker.mark(write, 1000 * n) for n, write in enumerate(writes, 1))

    def read(start, end):
        return iter([data[at : min(at + chunk, end)] for at in range(start, end, chunk)])

    return LogView(len(data), None, read, lambda: Marks(packed if marked else b""), lines)


def shown(window):
    return [line.html for line in window.lines]


# --- lines ------------------------------------------------------------------------------------


LOGS = st.lists(st.text("ab\n", max_size=12).map(str.encode), max_size=12)


@given(LOGS, st.booleans(), st.integers(1, 9), st.integers(1, 40), st.integers(1, 6))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_some_lines_are_those_of_the_whole(writes, marked, chunk, first, count):
    log = log_of(*writes, marked=marked, chunk=chunk)
    lines = b"".join(writes).decode().split("\n")
    if not lines[-1]:
        lines.pop()

    window = read_lines(log, first, count)

    assert (window.first, window.total) == (first, len(lines))
    assert shown(window) == lines[first - 1 : first - 1 + count]


@given(LOGS, st.integers(-20, -1))
def test_the_last_lines_can_be_asked_for(writes, first):
    log = log_of(*writes)
    everything = shown(read_lines(log, 1, 1000))

    window = read_lines(log, first, 1000)

    assert shown(window) == everything[first:]
    assert window.first == max(1, len(everything) + 1 + first)


def test_a_line_has_the_time_of_its_first_byte_and_says_whether_it_is_a_command():
    log = log_of(b"+ ma", b"ke\n", b"cc\n")

    assert [tuple(line) for line in read_lines(log, 1, 9).lines] == [
        ("+ make", 1000, True),
        ("cc", 3000, False),
    ]


def test_how_many_lines_a_finished_log_has_nobody_counts():
    log = log_of(b"a\nb\n", lines=4711)

    assert count_lines(log) == 4711


def test_of_a_line_that_is_very_long_a_piece_is_looked_at():
    bar = b"".join(b"%7d\r" % number for number in range(20_000))
    log = log_of(bar + b"done   \n", b"x" * (3 * LINE_BYTES), b"\nnext\n", chunk=1000)

    window = read_lines(log, 1, 9)

    assert shown(window)[0] == "done   "
    assert shown(window)[1].endswith(f" … {3 * LINE_BYTES - COLUMNS:,} more</span>")
    assert shown(window)[2] == "next"


@pytest.mark.parametrize("chunk", [1, 1000, CHUNK])
def test_a_carriage_return_that_ends_a_long_line_takes_nothing_away(chunk):
    log = log_of(b"".join(b"%7d\r" % number for number in range(20_000)) + b"\n", chunk=chunk)

    assert shown(read_lines(log, 1, 9)) == ["  19999"]


def test_many_long_lines_at_once_are_shown_by_their_beginnings():
    log = log_of(*[b"http://a " * 500 + b"\n"] * 2000)

    window = read_lines(log, 1, 2000)

    assert len(window.lines) == 2000
    assert sum(map(len, shown(window))) < 3 * WINDOW_BYTES
    assert shown(window)[0].count("<a ") > 400
    assert "4,300 more" in shown(window)[-1]


def test_the_end_of_a_long_log_without_marks_is_not_split_into_lines_from_its_beginning():
    log = log_of(b"line\n" * 1_000_000, marked=False)

    begun = time.process_time()
    window = read_lines(log, -2, 2)

    assert (window.first, shown(window)) == (999_999, ["line", "line"])
    assert time.process_time() - begun < 0.2


def test_a_line_far_back_in_a_long_log_is_found_by_reading_little():
    read = []
    whole = log_of(*(b"%07d %s\n" % (number, b"x" * 91) for number in range(100_000)))
    log = LogView(
        whole.size, None, lambda a, b: read.append(a) or whole.read(a, b), whole.marks, 100_000
    )

    window = read_lines(log, 90_000, 2)

    assert shown(window)[0].startswith("0089999 ")
    assert whole.size - read[0] < whole.size * 0.11


# --- commands ---------------------------------------------------------------------------------


@given(LOGS, st.integers(1, 9))
def test_commands_are_the_lines_that_begin_like_one(writes, chunk):
    writes = [write.replace(b"a", b"+ ") for write in writes]
    lines = read_lines(log_of(*writes), 1, 999).lines

    found = find_commands(log_of(*writes, chunk=chunk), 999)

    assert found == [number for number, line in enumerate(lines, 1) if line.is_command]


def test_what_is_in_the_middle_of_a_long_line_is_no_command():
    log = log_of(b"x" * CHUNK, b"+ " * CHUNK, b"\n+ make\n")

    assert find_commands(log, 9) == [2]
    assert find_commands(log_of(b"+ a\n+ b\n+ c\n"), 2) == [1, 2]


# --- search -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, CHUNK])
def test_a_text_is_found_in_its_lines_whatever_the_colour(chunk):
    log = log_of(b"one\n\x1b[1mT\x1b[0mwo two\n", b"three\ntwo", chunk=chunk)

    assert [tuple(hit) for hit in find(log, "two", 9)] == [(2, "Two two"), (4, "two")]
    assert [hit.number for hit in find(log, "Two", 9)] == [2]
    assert [hit.number for hit in find(log, "two", 1)] == [2]
    assert find(log, "four", 9) == []


def test_what_is_found_is_shown_without_harm():
    assert find(log_of(b"a <b>two</b>\n"), "two", 9)[0].html == "a &lt;b&gt;two&lt;/b&gt;"


def test_a_line_is_found_once_however_often_a_text_is_in_it_and_in_how_many_blocks():
    log = log_of(b"a" * (4 * CHUNK) + b"\na\n")

    begun = time.process_time()

    assert [hit.number for hit in find(log, "a", 9)] == [1, 2]
    assert time.process_time() - begun < 5


def test_lines_keep_their_numbers_behind_one_that_is_longer_than_a_block():
    log = log_of(b"x" * (3 * CHUNK) + b"two\nand\ntwo\n")

    assert [hit.number for hit in find(log, "two", 9)] == [1, 3]


@pytest.mark.parametrize("written", [b"x\b", b"\rx"], ids=["back", "return"])
def test_many_long_lines_that_are_found_are_shown_by_their_beginnings(written):
    log = log_of((written * (60_000 // len(written)) + b"needle\n") * 100)

    hits = find(log, "needle", 200)

    assert [hit.number for hit in hits] == list(range(1, 101))
    assert hits[0].html.endswith("needle")
    assert "59,806 more" in hits[-1].html


ERRORS = {
    "a compiler": (b"cc a.c\na.c:1: error: no\n", 2),
    "git": (b"fatal: not a repository", 1),
    "make": (b"cc\nmake: *** [all] Error 1\n", 2),
    "apt": (b"Get:1\nE: Unable to locate package x\n", 2),
    "apt at once": (b"E: Unable to locate package x\n", 1),
    "a TAP test": (b"ok 1\nnot ok 2\n", 2),
    "pytest": (b"===\nFAILED tests/x.py\n", 2),
    "Python": (b"a\nTraceback (most recent call last):\n", 2),
    "in colour": (b"a\n\x1b[31merror\x1b[0m: b\n", 2),
    "none": (b"0 errors\nok 2 not ok\n", None),
}


@pytest.mark.parametrize(("log", "number"), ERRORS.values(), ids=ERRORS)
def test_the_first_error_is_found(log, number):
    hit = find_error(log_of(log))

    assert (hit and hit.number) == number


def test_the_patterns_are_looked_for_in_lower_case():
    assert all(error == error.lower() for error in log_lines._ERRORS + log_lines._ERRONEOUS)


def test_the_patterns_are_those_that_are_documented():
    documented = (Path(__file__).parents[3] / "docs/api.md").read_text().lower()

    told = {f"`{pattern.decode()}`" for pattern in log_lines._ERRORS + log_lines._ERRONEOUS}

    assert {pattern for pattern in told if pattern not in documented} == set()
