"""Text of strangers, as a page may show it: what a receiver answers, what quotes a forge."""

import unicodedata

# What moves nothing but the place to go on at.
PLAIN = "\n\t"


def harmless(text: str) -> str:
    """The same text, with a sign in place of whatever does something unseen, as characters do that
    turn the direction of what follows."""
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def _shown(char: str) -> str:
    is_seen = char.isprintable() or char in PLAIN or unicodedata.category(char) == "Zs"
    return char if is_seen else "\N{REPLACEMENT CHARACTER}"
