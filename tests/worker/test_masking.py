"""The masker, as a stream: what goes in, in whatever chunks, and what comes out."""

import base64
import json
import re
import time
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from worker.disguises import MINIMUM, disguises
from worker.masking import MASK, SPAN, Masker

SECRET = b"correct-horse-battery"


def mask(hidden, *chunks):
    masker = Masker(hidden)
    return b"".join(map(masker.feed, chunks)) + masker.flush()


def cut(data, places):
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(places)]


# --- finds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (b"", b""),
        (b"nothing to see", b"nothing to see"),
        (SECRET, b"***"),
        (b"say " + SECRET + b" twice " + SECRET + b"!\n", b"say *** twice ***!\n"),
        (SECRET + SECRET, b"***"),
        (b"\x00\xff" + SECRET + b"\x80", b"\x00\xff***\x80"),
        (SECRET[:-1], SECRET[:-1]),
        (SECRET.upper(), SECRET.upper()),
    ],
)
def test_each_occurrence_becomes_a_mask_and_all_else_stays(text, masked):
    assert mask([SECRET], text) == masked


def test_finds_that_overlap_or_touch_become_one_mask():
    assert mask([b"abcdefgh", b"efghijkl"], b"-abcdefghijkl-") == b"-***-"
    assert mask([b"abcdefgh", b"cdef"], b"-abcdefgh-") == b"-***-"
    assert mask([b"abcdefgh", b"ijklmnop"], b"-abcdefghijklmnop-") == b"-***-"
    assert mask([b"abcdefgh"], b"-abcdefgh abcdefgh-") == b"-*** ***-"


def test_what_is_longer_than_can_be_held_is_masked_as_a_whole():
    long = bytes(byte % 251 for byte in range(5000)).translate(None, b"\r\n")
    assert mask([long], b"<" + long + b">") == b"<***>"


@pytest.mark.parametrize("width", [10, 57, 60, 64, 76])
def test_an_encoder_that_breaks_lines_hides_nothing(width):
    encoded = base64.b64encode(b"some file with " + SECRET + b" in the middle")
    wrapped = re.sub(rb"(.{%d})" % width, rb"\1\n", encoded)
    for end_of_line in (b"\n", b"\r\n"):
        left = mask(disguises(SECRET), wrapped.replace(b"\n", end_of_line))
        assert left.count(MASK) == 1
        shown = left.translate(None, b"\r\n").split(MASK)
        # What precedes it, with at most one short piece of it; what follows, with part of a digit.
        assert encoded.startswith(shown[0])
        assert len(shown[0]) <= 20 + MINIMUM
        assert encoded.endswith(shown[-1])


def test_a_short_piece_that_ends_a_line_is_shown():
    assert mask([b"abcdefghijkl"], b"-abcdefg\nhijkl-") == b"-abcdefg\n***-"
    assert mask([b"abcdefghijkl"], b"-abcdefgh\nijkl-") == b"-***-"


def test_line_breaks_without_end_make_no_find():
    assert mask([SECRET], SECRET[:10] + b"\n" * SPAN + SECRET[10:]) == (
        SECRET[:10] + b"\n" * SPAN + SECRET[10:]
    )


# --- chunks ---------------------------------------------------------------------------------------

LETTERS = st.lists(st.sampled_from([b"a", b"b", b"c", b"ab", b"\n", b"\r\n"]), max_size=60)
TEXTS = LETTERS.map(b"".join)
HIDDEN = st.lists(st.text("abc", min_size=2, max_size=12).map(str.encode), min_size=1, max_size=4)
PLACES = st.lists(st.integers(0, 10_000), max_size=12)


@given(HIDDEN, TEXTS, PLACES)
@settings(max_examples=1000)
@example([b"aaaaaaaaab"], b"aaaaaaaaa\nb", [10])
@example([b"abcabcabcabc", b"bcab"], b"abcabcab\n\n", [3, 8, 9])
def test_it_does_not_matter_how_a_stream_is_cut(hidden, text, places):
    assert mask(hidden, *cut(text, places)) == mask(hidden, text)


@given(
    st.binary(min_size=MINIMUM, max_size=700).map(lambda value: value.translate(None, b"\r\n*")),
    st.lists(st.integers(0, 8), min_size=1, max_size=6),
    PLACES,
)
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_hidden_is_left_in_any_encoding(value, order, places):
    value = value.strip()
    # The first line of armor is no secret.
    assume(len(value) >= MINIMUM and not value.startswith(b"-----BEGIN ") and b"<->" not in value)
    forms = [
        value,
        base64.b64encode(value),
        base64.urlsafe_b64encode(value),
        base64.encodebytes(value),
        value.hex().encode(),
        re.sub(r"(.{60})", r"\1\n", value.hex()).encode(),
        quote(value).encode(),
        quote_plus(value).encode(),
        json.dumps(value.decode(errors="replace"))[1:-1].encode(),
    ]
    text = b"<->".join(forms[each] for each in order)

    left = mask(disguises(value), *cut(text, places))

    squeezed = left.translate(None, b"\r\n")
    for form in forms[:8]:
        assert form.translate(None, b"\r\n") not in squeezed
    try:
        value.decode()
    except UnicodeDecodeError:
        return
    assert forms[8] not in left
    assert left.count(MASK) == len(order), left


@pytest.mark.parametrize("end", [b"", b" ", b"\n", b"x"])
def test_no_more_is_held_back_than_may_become_a_find(end):
    masker = Masker([SECRET])
    assert masker.feed(b"say " + SECRET[:5] + end) == b"say " + (SECRET[:5] + end) * bool(end)
    assert masker.held == (0 if end else 5)
    assert masker.flush() == (b"" if end else SECRET[:5])


def test_a_find_that_cannot_go_on_is_masked_at_once():
    masker = Masker([SECRET, SECRET + b"-staple", b"a longer one that has nothing to do with it"])
    assert masker.feed(SECRET) == b""
    assert masker.feed(b"-staple") == b"***"


def test_a_line_is_shown_at_once_though_its_end_begins_a_find():
    assert Masker([SECRET]).feed(b"picnic\nabc\n") == b"picnic\nabc\n"


def test_a_find_that_goes_on_is_masked_once():
    masker = Masker([b"abcdefgh", b"ghijklmn"])
    assert [masker.feed(chunk) for chunk in (b"-abcde", b"fgh", b"ijkl", b"mn", b"-")] == [
        *(b"-", b"***", b"", b"", b"-"),
    ]


def test_what_was_flushed_or_dropped_is_not_continued():
    masker = Masker([SECRET])
    assert masker.feed(SECRET[:9]) + masker.flush() == SECRET[:9]
    assert masker.feed(SECRET[9:]) + masker.flush() == SECRET[9:]
    masker.feed(b"-" + SECRET[:9])
    masker.drop()
    assert masker.feed(SECRET[9:]) + masker.flush() == SECRET[9:]


@pytest.mark.parametrize("flood", [b"\n", SECRET[:8] + b"\n", SECRET, b"c", SECRET[:-1]])
def test_what_is_held_back_stays_small(flood):
    masker = Masker([SECRET])
    masker.feed(SECRET[:10])
    for _ in range(200):
        masker.feed(flood * 100)
        assert masker.held <= SPAN


def test_a_large_log_with_a_large_secret_takes_seconds():
    secret = base64.encodebytes(bytes(byte * 7 % 256 for byte in range(12 * 1024)))
    masker = Masker(disguises(secret))
    chunk = b"0123456789 gcc -O2 -Wall -c -o file.o file.c\n" * 1450
    begun = time.process_time()
    for _ in range(20 * 1024 * 1024 // len(chunk)):
        assert masker.feed(chunk) == chunk
    assert time.process_time() - begun < 10
