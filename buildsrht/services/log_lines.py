"""A log as lines: some of them, where a text is in it, and where the first error seems to be.

Lines count from 1, and the last one counts although its end has not come. They are shown as a
terminal would show them (buildsrht.terminal); searched is what was written, without the codes that
only a terminal obeys. Whatever the size of the log, no more than a piece of it is in memory.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from buildsrht.logs import CHUNK, LogView
from buildsrht.marks import Marks
from buildsrht.terminal import to_html

# Of a longer line this much is looked at, from its last carriage return on or from its beginning.
LINE_BYTES = 64 * 1024
# What the lines of one window or search take, as they were written and as HTML, before each of
# the others is shown by its beginning only.
WINDOW_BYTES = 2 * 1024 * 1024
BEGINNING = 200
COMMAND = b"+ "

_COMMANDS = re.compile(rb"\n" + re.escape(COMMAND))
_CODES = re.compile(rb"\x1b\[[0-9;:]*[@-~]")
# What build tools say before anything else when something went wrong, in lower case.
_ERRORS = (
    *(b"error:", b"error[", b"fatal:", b"traceback (most recent call last)", b"panic: "),
    *(b"undefined reference to", b"segmentation fault", b"assertion failed", b"*** ["),
    *(b": command not found", b"no such file or directory", b"permission denied"),
    b"failed:",
)
# And what they begin a line with.
_ERRONEOUS = (b"failed ", b"e: ", b"not ok ")


class Line(NamedTuple):
    """`milliseconds` is the Unix time at which its first byte was written, if that is known."""

    html: str
    milliseconds: int | None
    is_command: bool


class Window(NamedTuple):
    """Some lines of a log, `first` being the number of the first, and how many there are now."""

    first: int
    total: int
    lines: list[Line]


class Hit(NamedTuple):
    number: int
    html: str


class _Raw(NamedTuple):
    """A line's number, the offset of its first byte, what is looked at of it, and how many bytes
    of it come after that."""

    number: int
    offset: int
    data: bytes
    more: int

    def html(self, most: int) -> str:
        return to_html(self.data[:most], self.more + max(0, len(self.data) - most))


# --- lines ------------------------------------------------------------------------------------


def read_lines(view: LogView, first: int, count: int) -> Window:
    """At most `count` lines from number `first` on; from -5 on are the last five."""
    marks = view.marks()
    total = count_lines(view, marks)
    if first < 0:
        first = max(1, total + 1 + first)
    lines: list[Line] = []
    room = WINDOW_BYTES
    if first <= total:
        for raw in _lines_from(view, marks, first):
            if len(lines) == count:
                break
            html = raw.html(max(room, BEGINNING))
            room -= len(raw.data) + len(html)
            time = marks.time_at(raw.offset)
            lines.append(Line(html, time, raw.data.startswith(COMMAND)))
    return Window(first, total, lines)


def count_lines(view: LogView, marks: Marks | None = None) -> int:
    """How many lines the log has now."""
    if view.lines is not None:
        return view.lines
    offset, ends = (marks or view.marks()).last()
    # Of a log that has just been cut short, as Redis may, the marks may be ahead.
    last = b""
    for chunk in view.read(min(offset, view.size), view.size):
        ends += chunk.count(b"\n")
        last = chunk
    if not last and view.size:
        last = b"".join(view.read(view.size - 1, view.size))
    return ends + (bool(last) and not last.endswith(b"\n"))


def _lines_from(view: LogView, marks: Marks, first: int) -> Iterator[_Raw]:
    offset, ends = marks.before_line(first)
    if offset >= view.size:
        offset, ends = 0, 0
    chunks = view.read(offset, view.size)
    for chunk in chunks:
        later = ends + chunk.count(b"\n")
        if later >= first - 1:
            chunks = chain([chunk], chunks)
            break
        # Where there are no marks, that is much faster than line by line.
        offset, ends = offset + len(chunk), later
    for raw in _split(chunks, offset, ends + 1):
        # What a mark leads to may begin in the middle of a line, but never of this one.
        if raw.number >= first:
            yield raw


def _split(chunks: Iterator[bytes], offset: int, number: int) -> Iterator[_Raw]:
    line = _LongLine(offset)
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            line.add(piece)
            yield _Raw(number, line.offset, line.data, line.more)
            line = _LongLine(line.offset + line.size + 1)
            number += 1
        line.add(rest)
    if line.size:
        yield _Raw(number, line.offset, line.data, line.more)


class _LongLine:
    """A line that is put together, of which no more than is looked at is kept."""

    def __init__(self, offset: int):
        self.offset = offset
        self.size = 0
        self.data = b""
        self.more = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self.data += piece
        if len(self.data) > LINE_BYTES:
            # A progress bar begins its line anew, and what it said last is what counts; not what
            # comes after a carriage return that ends it.
            returned = self.data.rfind(b"\r", -LINE_BYTES, -1)
            if returned >= 0:
                self.data, self.more = self.data[returned + 1 :], 0
            else:
                self.more += len(self.data) - LINE_BYTES
                self.data = self.data[:LINE_BYTES]


# --- commands ---------------------------------------------------------------------------------


def find_commands(view: LogView, limit: int) -> list[int]:
    """The numbers of the first lines that show a command, at most `limit` of them."""
    numbers: list[int] = []
    number, end = 1, b"\n"
    for block in _blocks(view):
        at = 0
        # With the end of what was before, which says whether a line begins here.
        for found in _COMMANDS.finditer(end + block):
            number += block.count(b"\n", at, found.start())
            at = found.start()
            numbers.append(number)
            if len(numbers) == limit:
                return numbers
        number += block.count(b"\n", at)
        end = block[-1:]
    return numbers


# --- search -----------------------------------------------------------------------------------


def find(view: LogView, text: str, limit: int) -> list[Hit]:
    """The first lines that contain `text`, at most `limit` of them. A text without upper case is
    found in any case, of ASCII letters."""
    wanted = text.encode(errors="replace")
    return _search(view, text == text.lower(), lambda block, at: block.find(wanted, at), limit)


def find_error(view: LogView) -> Hit | None:
    """The first line that looks like an error."""
    hits = _search(view, True, _place_of_error, 1)
    return hits[0] if hits else None


def _place_of_error(block: bytes, at: int) -> int:
    """From the beginning of a line on."""
    places = [block.find(error, at) for error in _ERRORS]
    for beginning in _ERRONEOUS:
        if block.startswith(beginning, at):
            return at
        places.append(block.find(b"\n" + beginning, at) + 1 or -1)
    return min((place for place in places if place >= 0), default=-1)


def _search(
    view: LogView, in_any_case: bool, place_of: Callable[[bytes, int], int], limit: int
) -> list[Hit]:
    """`place_of` says where in a block, from an offset on, something is that is sought, or -1."""
    hits: list[Hit] = []
    ends = 0
    room = WINDOW_BYTES
    for block in _blocks(view):
        # Only that lines keep their numbers matters here.
        plain = b"".join(_CODES.split(block)) if b"\x1b" in block else block
        looked_at = plain.lower() if in_any_case else plain
        number, begin = ends + 1, 0
        while (place := place_of(looked_at, begin)) >= 0:
            number += plain.count(b"\n", begin, place)
            begin = max(begin, plain.rfind(b"\n", begin, place) + 1)
            end = plain.find(b"\n", place)
            end = len(plain) if end < 0 else end
            # Of a line that is in several blocks one is enough.
            if not hits or hits[-1].number != number:
                line = plain[begin:end]
                most = min(LINE_BYTES, max(room, BEGINNING))
                html = to_html(line[:most], max(0, len(line) - most))
                room -= min(len(line), most) + len(html)
                hits.append(Hit(number, html))
            if len(hits) == limit:
                return hits
            number, begin = number + 1, end + 1
        ends += block.count(b"\n")
    return hits


def _blocks(view: LogView) -> Iterator[bytes]:
    """The log in pieces that end with a line; a longer line is cut, and still counts as one."""
    rest = b""
    for chunk in view.read(0, view.size):
        whole, end, begun = chunk.rpartition(b"\n")
        if end:
            yield rest + whole + end
            rest = begun
        else:
            rest += chunk
            if len(rest) > CHUNK:
                yield rest
                rest = b""
    if rest:
        yield rest
