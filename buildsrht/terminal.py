"""What a terminal would show of one line, as HTML that can do no harm.

Colours and styles become classes, a carriage return and a backspace move back, `erase line` erases.
Everything else that a terminal would obey is left out, and so is what could make text look like
other text: characters that turn the direction of writing are shown as U+FFFD.

Promises: the result has no element but `span` and `a`, no attribute but `class`, `href` and `rel`,
and an `a` leads to http or https. It takes time in proportion to the line, and is not much longer
than what is shown. The codes are those of ECMA-48 (SGR, EL) as xterm has them.
"""

import re
from functools import cache
from html import escape
from typing import NamedTuple

# More of a line is not shown.
COLUMNS = 4000
# After as many changes of style the rest of a line has none, and more codes at once are none.
RUNS = 200
CODES = 16
# So many cells are made blank at most, however often that is asked for.
BLANKS = 100 * COLUMNS

_TOKEN = re.compile(
    r"\x1b\[(?P<parameters>[0-9;:]*)(?P<final>[@-~])"
    # A title, a link's target: whatever it says, to its end or to that of the line.
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|\x1b\[[ -?]*[@-~]?|\x1b[ -/]*[0-~]?"
    r"|(?P<move>[\r\b])"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f\ufeff]"
)
_SPECIAL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ufeff]")
_TURNS = re.compile("[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LINK = re.compile(r"https?://[^\s<>\"'`{}|\\^]+")
_NOT_AT_ITS_END = ".,;:!?)]"

_BASIC = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0)),
    *((0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0)),
    *((92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255)),
)
_CUBE = (0, 95, 135, 175, 215, 255)
# What differs by less may have the same nearest colour.
SHADE = 16


class Style(NamedTuple):
    """`front` and `back` are one of 16 colours, or the usual one."""

    front: int | None = None
    back: int | None = None
    bold: bool = False
    faint: bool = False
    italic: bool = False
    underline: bool = False
    inverse: bool = False

    @property
    def classes(self) -> str:
        front = "x" if self.front is None else self.front
        back = "x" if self.back is None else self.back
        if self.inverse:
            front, back = back, front
        colours = [f"f{front}", f"b{back}"]
        usual = ("fx", "bx") if not self.inverse else ()
        words = [word for word in ("bold", "faint", "italic", "underline") if getattr(self, word)]
        return " ".join([*(colour for colour in colours if colour not in usual), *words])


PLAIN = Style()
_FLAGS = {1: "bold", 2: "faint", 3: "italic", 4: "underline", 7: "inverse"}
_OFF = {22: ("bold", "faint"), 23: ("italic",), 24: ("underline",), 27: ("inverse",)}


def to_html(line: bytes, more: int = 0) -> str:
    """One line, without its end; `more` bytes of it are known to be left out."""
    text = _TURNS.sub("\ufffd", line.decode(errors="replace"))
    if not _SPECIAL.search(text):
        return _linked(text[:COLUMNS]) + _left_out(max(0, len(text) - COLUMNS) + more)
    screen = _Screen(more)
    end = 0
    for token in _TOKEN.finditer(text):
        screen.write(text[end : token.start()])
        screen.obey(token)
        end = token.end()
    screen.write(text[end:])
    return screen.html()


def to_text(line: bytes) -> str:
    """What is shown of a line, without styles."""
    return re.sub(r"<[^>]*>", "", to_html(line))


class _Screen:
    """One row of cells, each a character and its style."""

    def __init__(self, more: int) -> None:
        self._more = more
        self._blanks = 0
        self._cells: list[tuple[str, Style]] = []
        self._column = 0
        self._style = PLAIN
        self._left_out = 0

    def write(self, text: str) -> None:
        shown = text[: max(0, COLUMNS - self._column)]
        self._left_out += len(text) - len(shown)
        cells = [(character, self._style) for character in shown]
        self._cells[self._column : self._column + len(cells)] = cells
        self._column += len(cells)

    def obey(self, token: re.Match[str]) -> None:
        if token["move"] == "\r":
            self._column = 0
            self._left_out = 0
        elif token["move"]:
            self._column = max(0, self._column - 1)
        elif token["final"] == "m":
            self._style = _restyled(self._style, token["parameters"])
        elif token["final"] == "K":
            self._erase(token["parameters"])

    def _erase(self, which: str) -> None:
        if which in ("", "0"):
            del self._cells[self._column :]
        elif which in ("1", "2") and self._blanks < BLANKS:
            upto = min(self._column, len(self._cells))
            self._blanks += upto
            self._cells[:upto] = [(" ", PLAIN)] * upto
            if which == "2":
                del self._cells[self._column :]

    def html(self) -> str:
        pieces: list[str] = []
        run: list[str] = []
        style = PLAIN
        for character, its in self._cells:
            if its != style and len(pieces) < RUNS:
                pieces.append(_styled("".join(run), style))
                run, style = [], its
            run.append(character)
        pieces.append(_styled("".join(run), style))
        return "".join(pieces) + _left_out(self._left_out + self._more)


def _styled(text: str, style: Style) -> str:
    if not text:
        return ""
    classes = style.classes
    return f'<span class="{classes}">{_linked(text)}</span>' if classes else _linked(text)


def _linked(text: str) -> str:
    pieces = []
    end = 0
    for found in _LINK.finditer(text):
        address = found[0].rstrip(_NOT_AT_ITS_END)
        pieces.append(escape(text[end : found.start()]))
        target = escape(address)
        pieces.append(f'<a href="{target}" rel="nofollow noopener noreferrer">{target}</a>')
        end = found.start() + len(address)
    pieces.append(escape(text[end:]))
    return "".join(pieces)


def _left_out(characters: int) -> str:
    return f'<span class="more"> … {characters:,} more</span>' if characters > 0 else ""


# --- colours ----------------------------------------------------------------------------------


def _restyled(style: Style, parameters: str) -> Style:
    words = re.split("[;:]", parameters, maxsplit=CODES)[:CODES]
    codes = [int(word) if word and len(word) < 4 else 0 for word in words]
    while codes:
        code = codes.pop(0)
        if code == 0:
            style = PLAIN
        elif code in _FLAGS:
            style = style._replace(**{_FLAGS[code]: True})
        elif code in _OFF:
            style = style._replace(**dict.fromkeys(_OFF[code], False))
        elif code in (38, 48):
            colour = _extended(codes)
            style = style._replace(front=colour) if code == 38 else style._replace(back=colour)
        else:
            style = _basic(style, code)
    return style


def _basic(style: Style, code: int) -> Style:
    if 30 <= code <= 37 or 90 <= code <= 97:
        return style._replace(front=code - 30 if code < 90 else code - 82)
    if 40 <= code <= 47 or 100 <= code <= 107:
        return style._replace(back=code - 40 if code < 100 else code - 92)
    if code == 39:
        return style._replace(front=None)
    if code == 49:
        return style._replace(back=None)
    return style


def _extended(codes: list[int]) -> int | None:
    """Of the many colours that there are the nearest of the 16; takes its codes out."""
    kind = codes.pop(0) if codes else 0
    if kind == 5 and codes:
        return _of_256(codes.pop(0))
    if kind == 2 and len(codes) >= 3:
        red, green, blue = codes[:3]
        del codes[:3]
        return _nearest((red, green, blue))
    codes.clear()
    return None


def _of_256(number: int) -> int | None:
    if number < 16:
        return number
    if number < 232:
        number -= 16
        return _nearest((_CUBE[number // 36], _CUBE[number // 6 % 6], _CUBE[number % 6]))
    if number < 256:
        return _nearest((8 + 10 * (number - 232),) * 3)
    return None


def _nearest(colour: tuple[int, int, int]) -> int:
    # So many shades of each are told apart that all of them can be remembered.
    red, green, blue = (min(part, 255) // SHADE for part in colour)
    return _nearest_shade(red, green, blue)


@cache
def _nearest_shade(*shades: int) -> int:
    def distance(number: int) -> int:
        return sum(
            (a - b * SHADE - SHADE // 2) ** 2 for a, b in zip(_BASIC[number], shades, strict=True)
        )

    return min(range(len(_BASIC)), key=distance)
