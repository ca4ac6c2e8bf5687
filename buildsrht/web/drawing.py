"""What a status looks like as a picture: a sign for a tab, and a badge with words.

Each status has a colour and a shape, as on the pages. White reads well on all of the colours, on
paper of any colour around them (WCAG 2.2, contrast of 4.5). No style sheet, no font that may be
missing: the width of words is reckoned, and then told to whoever draws.
"""

import unicodedata
from xml.etree.ElementTree import Element

from buildsrht.web.xml import element

GREEN, RED, BROWN, BLUE, OLIVE, GREY = [
    "#1c6b34",
    "#a3231a",
    "#8a4b00",
    "#1f5c8b",
    "#6a5a00",
    "#5b626c",
]
LABEL = "#2f343a"

DOTS = "M4 8h.01M8 8h.01M12 8h.01"
# Of each status: its colour, and the line of its shape in a square of 16.
SIGNS = {
    "success": (GREEN, "M3.5 8.5l3 3 6-7"),
    "failed": (RED, "M4 4l8 8M12 4l-8 8"),
    "timeout": (BROWN, "M8 2.5a5.5 5.5 0 1 0 .01 0zM8 5v3.2l2.2 1.4"),
    "cancelled": (GREY, "M8 2.5a5.5 5.5 0 1 0 .01 0zM4.2 11.8l7.6-7.6"),
    "running": (BLUE, "M5.5 3.5l7 4.5-7 4.5z"),
    "queued": (OLIVE, DOTS),
    "pending": (OLIVE, DOTS),
    "unknown": (GREY, "M5.7 6a2.3 2.3 0 1 1 3.2 2.1c-.6.3-.9.7-.9 1.6M8 12.6h.01"),
}

HEIGHT, FONT_SIZE, BASELINE = 20, 11, 14
PADDING, SIGN_WIDTH = 7, 20

# How wide characters are, in parts of the font's size; all others are OTHER.
WIDTHS = {
    character: width
    for width, characters in (
        (0.30, "ijlI'"),
        (0.36, " .,:;|/\\-f"),
        (0.42, '()[]rtJ!"`'),
        (0.54, "szcLF?_*"),
        (0.59, "kvxyea"),
        (0.64, "obdpqghnuTYZ0123456789$"),
        (0.84, "GHNOQDUw+<>=~^#&"),
        (0.98, "mMW@%"),
    )
    for character in characters
}
OTHER, WIDE = 0.69, 1.05


def icon(status: str) -> Element:
    colour, shape = SIGNS[status]
    return _picture(
        16,
        16,
        status,
        element("rect", width=16, height=16, rx=4, fill=colour),
        _line(shape),
    )


def badge(label: str, status: str) -> Element:
    """A label, and on the status's colour its shape and its word."""
    colour, shape = SIGNS[status]
    left = round(text_width(label)) + 2 * PADDING
    right = SIGN_WIDTH + round(text_width(status)) + PADDING
    return _picture(
        left + right,
        HEIGHT,
        f"{label}: {status}",
        element("rect", width=left + right, height=HEIGHT, rx=4, fill=LABEL),
        # Round on the right only, and over the round end of the label.
        element(
            "path",
            d=f"M{left} 0h{right - 4}a4 4 0 0 1 4 4v12a4 4 0 0 1-4 4h-{right - 4}z",
            fill=colour,
        ),
        _line(shape, transform=f"translate({left + 4} 3) scale(.875)"),
        element(
            "g",
            _words(label, PADDING),
            _words(status, left + SIGN_WIDTH),
            fill="#fff",
            font_family="Verdana,DejaVu Sans,sans-serif",
            font_size=FONT_SIZE,
        ),
    )


def text_width(text: str) -> float:
    return FONT_SIZE * sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if unicodedata.combining(character):
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return WIDE
    return WIDTHS.get(character, OTHER)


def _picture(width: int, height: int, title: str, *drawn: Element) -> Element:
    return element(
        "svg",
        element("title", title),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=title,
    )


def _line(shape: str, **attributes: object) -> Element:
    return element(
        "path",
        d=shape,
        fill="none",
        stroke="#fff",
        stroke_width=2,
        stroke_linecap="round",
        stroke_linejoin="round",
        **attributes,
    )


def _words(text: str, x: int) -> Element:
    return element("text", text, x=x, y=BASELINE, textLength=round(text_width(text)))
