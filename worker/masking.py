"""Replace what a log must not show by `***`, in a stream that comes in chunks.

However the stream is cut, the same comes out: only the end of a chunk that may turn out to be the
beginning of something hidden is held back, until more comes or `flush`. Line breaks do not help
what is hidden, because encoders break lines anywhere; but a piece before a line break that is
shorter than MINIMUM is shown, so that lines need not wait for the next. Finds that overlap or touch
become one mask, and every other byte stays as it is.

Knows nothing of secrets and of how they are encoded: worker.disguises does.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

import ahocorasick  # type: ignore[import-not-found]

from worker.disguises import MINIMUM

MASK = b"***"
# What is longer is found piece by piece, so that little is ever held back.
PIECE = 256
# Nothing is found across more bytes than this, line breaks included.
SPAN = 4 * PIECE
BREAKS = b"\r\n"
BREAK = re.compile(rb"[\r\n]")


class Masker:
    """Hides each of `hidden`: one byte string or more, none of them empty."""

    def __init__(self, hidden: Iterable[bytes]):
        # Its texts are ours byte by byte: Latin-1 has one character for each.
        words = sorted({piece.decode("latin-1") for piece in _pieces(hidden)})
        self._automaton = ahocorasick.Automaton()
        for word in words:
            self._automaton.add_word(word, len(word))
        self._automaton.make_automaton()
        self._longest = max(map(len, words))
        # Those that are not the beginning of another.
        self._last_words = {
            word for word, after in pairwise([*words, ""]) if not after.startswith(word)
        }
        self._start_anew()

    def _start_anew(self) -> None:
        self._search = self._automaton.iter("")
        # How many letters the search has seen: all bytes but line breaks.
        self._letters = 0
        # The last bytes of the stream, and how many of them were returned.
        self._tail = b""
        self._returned = 0
        # What is to be masked in the tail. One that begins in what was returned has its mask.
        self._spans: list[tuple[int, int]] = []

    @property
    def held(self) -> int:
        """How many bytes are held back."""
        return len(self._tail) - self._returned

    def feed(self, data: bytes) -> bytes:
        """More of the stream in; as much of it out as is certain by now."""
        text = _Text(self._tail + data)
        fresh = data.translate(None, BREAKS).decode("latin-1")
        self._letters += len(fresh)
        before = self._letters - text.letters
        self._search.set(fresh)
        for last, length in self._search:
            end = last + 1 - before
            if text.may_span(end - length, end):
                self._add(text.shown_from(end - length, end), text.at(end - 1) + 1)
        return self._release(text.data, self._certain(text))

    def flush(self) -> bytes:
        """The rest, at the end of the stream. What is fed next begins another."""
        rest = self._release(self._tail, len(self._tail))
        self._start_anew()
        return rest

    def drop(self) -> None:
        """Forget what is held back; what is fed next begins another stream."""
        self._start_anew()

    def _add(self, start: int, end: int) -> None:
        """Finds come in the order of their ends."""
        while self._spans and self._spans[-1][1] >= start:
            start = min(start, self._spans.pop()[0])
        self._spans.append((start, end))

    def _certain(self, text: "_Text") -> int:
        """Up to where nothing that comes can change what is to be masked."""
        recent = text.data[-SPAN:].translate(None, BREAKS).decode("latin-1")
        for length in range(min(len(recent), self._longest - 1), 0, -1):
            begin = text.letters - length
            if self._may_go_on(recent[-length:]) and text.may_span(begin, text.letters + 1):
                return text.shown_from(begin, text.letters + 1)
        return len(text.data)

    def _may_go_on(self, letters: str) -> bool:
        return self._automaton.match(letters) and letters not in self._last_words

    def _release(self, text: bytes, end: int) -> bytes:
        released = []
        done = self._returned
        for start, stop in self._spans:
            if start >= end:
                break
            if start >= self._returned:
                released += [text[done:start], MASK]
            done = max(done, min(stop, end))
        released.append(text[done:end])
        gone = max(len(text) - SPAN, 0)
        self._spans = [(start - gone, stop - gone) for start, stop in self._spans if stop >= end]
        self._tail, self._returned = text[gone:], end - gone
        return b"".join(released)


class _Text:
    """Bytes, also counted as letters: all but the line breaks."""

    def __init__(self, data: bytes):
        self.data = data
        # How many letters come before each line break.
        self._breaks = [found.start() - breaks for breaks, found in enumerate(BREAK.finditer(data))]
        self.letters = len(data) - len(self._breaks)

    def at(self, letter: int) -> int:
        """Where in the data the letter of this number is; its end for one that is not there yet."""
        return letter + bisect_right(self._breaks, letter)

    def may_span(self, begin: int, end: int) -> bool:
        """Whether these letters are near enough to each other to be one find."""
        return begin >= 0 and self.at(end - 1) - self.at(begin) < SPAN

    def shown_from(self, begin: int, end: int) -> int:
        """Where the mask of these letters begins: behind a short piece that ends a line."""
        following = bisect_right(self._breaks, begin)
        if following < len(self._breaks):
            line_end = self._breaks[following]
            if line_end < end and line_end - begin < MINIMUM:
                return self.at(line_end)
        return self.at(begin)


def _pieces(hidden: Iterable[bytes]) -> Iterator[bytes]:
    """Consecutive ones; the last overlaps the one before, lest it be short."""
    for each in hidden:
        letters = each.translate(None, BREAKS)
        for start in range(0, max(len(letters) - PIECE, 0), PIECE):
            yield letters[start : start + PIECE]
        yield letters[-PIECE:]
