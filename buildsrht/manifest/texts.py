"""Rules about one string: each returns what it says, or raises ValueError with the reason.

A reason continues a sentence that began with the name of the value.
"""

import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from buildsrht.manifest.problems import shown

LONGEST_PATH = 1024
LONGEST_URL = 2048

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPACE = re.compile(r"\s")


def line(text: str, *, shortest: int = 1, longest: int) -> str:
    """Text on one line, without control characters."""
    if not shortest <= len(text) <= longest:
        raise ValueError(f"must have {shortest} to {longest:,} characters, not {len(text):,}")
    if not text.strip():
        raise ValueError("may not be blank")
    if _CONTROL.search(text):
        raise ValueError("may not contain line breaks or control characters")
    return text


def word(text: str, *, longest: int) -> str:
    """One argument of a command, not to be taken for two or for an option."""
    line(text, longest=longest)
    if _SPACE.search(text):
        raise ValueError("may not contain whitespace")
    if text.startswith("-"):
        raise ValueError("may not begin with -")
    return text


def matching(pattern: str, rule: str, *, longest: int) -> Callable[[str], str]:
    """The rule that text matches all of `pattern`; `rule` says so in English."""
    compiled = re.compile(pattern)

    def match(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f"may have {longest:,} characters, not {len(text):,}")
        if not compiled.fullmatch(text):
            raise ValueError(f"{shown(text)} {rule}")
        return text

    return match


def one_of(*choices: str) -> Callable[[str], str]:
    """The rule that text is one of `choices`."""

    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{shown(text)} must be one of {', '.join(choices)}")
        return text

    return choose


def split_url(text: str, schemes: tuple[str, ...]) -> SplitResult:
    """A URL with one of `schemes`, and with a host unless it is a file's."""
    try:
        url = urlsplit(text)
        is_valid = url.port != 0  # raises for a port that is no number, or too large a one
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError("is not a valid URL")
    if url.scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if url.scheme != "file" and not url.hostname:
        raise ValueError("must name a host")
    if "-" in (url.netloc[:1], (url.hostname or "")[:1]):
        raise ValueError("may not name a host or a user that begins with -")
    return url
