"""The pieces that pages are put together from. All end without a line break."""

import re
from collections.abc import Iterable, Sequence

NOTICE = "<!-- Made by `make reference`. Change what it is made from instead. -->"


def page(title: str, introduction: str, parts: Iterable[str]) -> str:
    return "\n\n".join([NOTICE, f"# {title}", introduction, *filter(None, parts)]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Nothing at all, if it has no rows."""
    lines = [_row(map(_cell, row)) for row in rows]
    return "\n".join([_row(heads), "|" + "---|" * len(heads), *lines]) if lines else ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def items(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def code(text: str, language: str = "text") -> str:
    return f"```{language}\n{text}\n```"


def link(text: str, heading: str | None = None) -> str:
    """To a heading of the same page; that of the same text, if none is given."""
    return f"[{text}](#{anchor(heading or text)})"


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sentence(text: str) -> str:
    """With a full stop at its end."""
    text = text.strip()
    return text if not text or text.endswith((".", ":", "?", "!")) else f"{text}."
