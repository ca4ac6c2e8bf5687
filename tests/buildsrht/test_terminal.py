"""Lines as a terminal would show them, as HTML that can do no harm."""

import re
import time
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsrht.terminal import _BASIC, COLUMNS, RUNS, to_html, to_text

SHOWN = {
    "plain": (b"all is well", "all is well"),
    "a tag": (b"<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
    "quotes": (b"\"'&", "&quot;&#x27;&amp;"),
    "no UTF-8": (b"caf\xe9", "caf\ufffd"),
    "a colour": (b"\x1b[31mred\x1b[0m", '<span class="f1">red</span>'),
    "a bright colour": (b"\x1b[92;100mok", '<span class="f10 b8">ok</span>'),
    "one of 256": (b"\x1b[38;5;196mred", '<span class="f9">red</span>'),
    "one of the greys": (b"\x1b[48;5;232mx", '<span class="b0">x</span>'),
    "one of all": (b"\x1b[38;2;0;200;10mgreen", '<span class="f2">green</span>'),
    "with colons": (b"\x1b[38:5:2mgreen", '<span class="f2">green</span>'),
    "styles": (b"\x1b[1;3;4mloud", '<span class="bold italic underline">loud</span>'),
    "a style that ends": (b"\x1b[1ma\x1b[22mb", '<span class="bold">a</span>b'),
    "turned round": (b"\x1b[7;31mx", '<span class="fx b1">x</span>'),
    "the usual colours again": (b"\x1b[31;42m\x1b[39;49mx", "x"),
    "codes that mean nothing": (b"\x1b[58;9999;;71mx", "x"),
    "a progress bar": (b"  1%\r 50%\r100%", "100%"),
    "less than before": (b"100%\rok", "ok0%"),
    "a line that is erased": (b"working\r\x1b[Kdone", "done"),
    "all of it erased": (b"working\x1b[2Kdone", "       done"),
    "its beginning erased": (b"abc\x1b[1Kd", "   d"),
    "a backspace": (b"abx\bc", "abc"),
    "too many backspaces": (b"\b\b\ba", "a"),
    "an end of DOS": (b"word\r", "word"),
    "a bell": (b"a\x07b", "ab"),
    "a tab": (b"a\tb", "a\tb"),
    "a title": (b"\x1b]0;owned\x07x", "x"),
    "a link's target": (b"\x1b]8;;javascript:alert(1)\x1b\\here\x1b]8;;\x1b\\", "here"),
    "a string that never ends": (b"a\x1bPq#0;2", "a"),
    "the cursor": (b"\x1b[2J\x1b[10;10Hx\x1b[?25l", "x"),
    "a code that is cut": (b"x\x1b[3", "x"),
    "C1 controls": ("a\x9b31mb\x85".encode(), "a31mb"),
    "text that turns": ("a\u202egpj.exe\u2066".encode(), "a\ufffdgpj.exe\ufffd"),
    "an address": (
        b"see https://example.org/a?b=1&c=2.",
        (
            'see <a href="https://example.org/a?b=1&amp;c=2" rel="nofollow noopener noreferrer">'
            "https://example.org/a?b=1&amp;c=2</a>."
        ),
    ),
    "no address": (b"javascript:alert(1) data:text/html,x", "javascript:alert(1) data:text/html,x"),
}


@pytest.mark.parametrize(("line", "html"), SHOWN.values(), ids=SHOWN)
def test_what_is_shown(line, html):
    assert to_html(line) == html


@pytest.mark.parametrize("number", range(16))
def test_each_of_the_16_is_the_nearest_to_itself(number):
    colour = ";".join(map(str, _BASIC[number]))

    assert to_html(f"\x1b[38;2;{colour}ma".encode()) == f'<span class="f{number}">a</span>'


def test_what_no_colour_can_be_is_the_brightest():
    assert to_html(b"\x1b[48;2;999;999;999ma") == '<span class="b15">a</span>'


def test_a_line_that_is_very_long_is_cut():
    assert to_html(b"x" * (COLUMNS + 1234)).endswith('x<span class="more"> … 1,234 more</span>')
    assert to_html(b"\x1b[1m" + b"x" * (COLUMNS + 1)).count("x") == COLUMNS


def test_a_line_that_changes_its_style_again_and_again_ends_without():
    html = to_html(b"\x1b[31mr\x1b[32mg" * COLUMNS)

    assert html.count("<span") <= RUNS + 1
    assert len(to_text(b"\x1b[31mr\x1b[32mg" * 100)) == 200


AGAIN_AND_AGAIN = {
    "colours": b"\x1b[31mr\x1b[32mg",
    "carriage returns": b"abc\r",
    "strings without an end": b"\x1b]8;;",
    "codes without an end": b"\x1b[1;",
    "erased beginnings": b"x\x1b[1K",
    "erased lines": b"x\x1b[2K",
    "addresses": b"http://",
    "ends of addresses": b"http://a)",
}


@pytest.mark.parametrize("piece", AGAIN_AND_AGAIN.values(), ids=AGAIN_AND_AGAIN)
def test_a_line_takes_time_in_proportion(piece):
    line = piece * (512 * 1024 // len(piece))

    begun = time.process_time()
    to_html(line)

    # Were it in proportion to the square, it would be minutes.
    assert time.process_time() - begun < 10


class Harmless(HTMLParser):
    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.text = [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        has = dict(attrs)
        if tag == "span":
            assert set(has) == {"class"}
            assert re.fullmatch(r"[a-z0-9 ]+", has["class"])
        else:
            assert (tag, set(has)) == ("a", {"href", "rel"})
            assert has["href"].startswith(("http://", "https://"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


PIECES = st.sampled_from(
    [b"\x1b", b"[", b"]8;;", b"31m", b"<b ", b">", b'"', b"http://", b"\r", b"\x07", b"&lt;", b"K"]
)


@given(st.lists(PIECES | st.binary(max_size=8), max_size=40).map(b"".join))
def test_whatever_is_written_no_harm_is_done(line):
    shown = Harmless(to_html(line)).text

    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert unescape(to_text(line)) == shown
