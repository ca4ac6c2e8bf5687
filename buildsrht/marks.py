"""Marks in a log: where it was, and when.

A mark is three numbers, kept beside the log: at this offset, after so many lines, something was
written at this time. Marks are sparse, so that a job which writes byte by byte has no more of them
than one that writes much at once; between two of them a log is read to find a line.

Pure: bytes in, numbers out. Where marks are kept, buildsrht.logs knows.
"""

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

MARK = struct.Struct(">QQQ")
# A line's time is exact to this.
MILLISECONDS = 10
# More than this is never read to find a line, unless it came in one piece.
SPACING = 64 * 1024


class Mark(NamedTuple):
    """`lines` is the number of line ends before `offset`, and `time` Unix milliseconds."""

    offset: int
    lines: int
    time: int

    def pack(self) -> bytes:
        return MARK.pack(*self)


class Marker:
    """Says of each write whether it gets a mark."""

    def __init__(self, size: int = 0, lines: int = 0):
        self._size = size
        self._lines = lines
        self._last: Mark | None = None

    def mark(self, data: bytes, time: int) -> bytes:
        """The mark for what is written now, packed; empty if the last one is near enough."""
        mark = Mark(self._size, self._lines, time)
        self._size += len(data)
        self._lines += data.count(b"\n")
        if self._last and self._is_near(self._last, mark):
            return b""
        self._last = mark
        return mark.pack()

    def _is_near(self, last: Mark, mark: Mark) -> bool:
        # The clock may be set back; then nothing is near.
        is_soon = 0 <= mark.time - last.time < MILLISECONDS
        return is_soon and mark.offset - last.offset < SPACING


class Marks:
    """The marks of one log, for looking up."""

    def __init__(self, packed: bytes = b""):
        numbers = array("Q", packed[: len(packed) // MARK.size * MARK.size])
        if sys.byteorder == "little":
            numbers.byteswap()
        self._offsets, self._lines, self._times = numbers[0::3], numbers[1::3], numbers[2::3]

    def before_line(self, number: int) -> tuple[int, int]:
        """An offset at or before the first byte of a line, and the line ends before that offset.
        Lines count from 1."""
        # A mark after just as many line ends may be in the middle of that line.
        place = bisect_left(self._lines, max(number - 1, 0)) - 1
        return (self._offsets[place], self._lines[place]) if place >= 0 else (0, 0)

    def last(self) -> tuple[int, int]:
        """The offset of the last mark, and the line ends before it."""
        return (self._offsets[-1], self._lines[-1]) if self._offsets else (0, 0)

    def time_at(self, offset: int) -> int | None:
        """When the byte at this offset was written, in Unix milliseconds."""
        place = bisect_right(self._offsets, offset) - 1
        return self._times[place] if place >= 0 else None
