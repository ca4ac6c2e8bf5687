"""What a secret may look like in a log: itself, its parts, and each as common tools would print it.

Bytes in, byte strings to look for out. It covers how scripts show a secret by accident, not how
somebody may who wants to; docs/manifest.md says it to users.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

# What is shorter is not hidden: too much that is no secret looks the same.
MINIMUM = 8
# What JavaScript's encodeURIComponent leaves, which is more than others do.
LEFT_BY_JAVASCRIPT = "!'()*~"
SHELL_SPECIAL = re.compile(rb"[^A-Za-z0-9_@%+=:,./\x80-\xff-]")
SPECIAL_IN_DOUBLE_QUOTES = re.compile(rb'["$`\\]')
CONTROL = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 27: "E"}

ARMOR = re.compile(rb"-----(BEGIN|END) [A-Z0-9 ]+-----")
ARMOR_HEADER = re.compile(rb"(Version|Comment|MessageID|Hash|Charset|Proc-Type|DEK-Info): .*")
# In ~/.netrc, and in addresses.
PASSWORD = re.compile(rb"(?:^|\s)password\s+(\S+)|://[^\s/:@]*:([^\s/@]+)@")
# An address, `https://...`, and the padding of base64 only look like one.
ASSIGNMENT = re.compile(rb"(?:export\s+)?[\"']?[^\s\"'=:]+[\"']?\s*[=:](?!//|=)(.*)")


def disguises(value: bytes) -> set[bytes]:
    """Every byte string that shows the secret or a part of it, and is long enough to be hidden."""
    found = set(_binary(value))
    for part in [*_lines(value), *_assigned(value), *_json_texts(value)]:
        # One that is too short stays visible also in a form that happens to be longer.
        if len(part) >= MINIMUM:
            found |= {part, *_binary(part), *_quoted(part)}
    return {form for form in found if len(form) >= MINIMUM}


def is_partly_too_short(value: bytes) -> bool:
    """Whether a part of the secret cannot be hidden."""
    texts = list(_json_texts(value))
    parts = texts or [*_lines(value, armored=False), *_assigned(value)]
    return any(len(part) < MINIMUM for part in parts)


# --- its parts ----------------------------------------------------------------------------------


def _lines(value: bytes, *, armored: bool = True) -> Iterator[bytes]:
    """Its lines. The first and last one of armor, and headers in it, are no secret."""
    in_armor = False
    for line in map(bytes.strip, value.splitlines()):
        if match := ARMOR.fullmatch(line):
            in_armor = match[1] == b"BEGIN"
        elif line and not (in_armor and (not armored or ARMOR_HEADER.fullmatch(line))):
            yield line


def _assigned(value: bytes) -> Iterator[bytes]:
    """What its lines assign, as in `KEY=value` or `key: "value"`, and passwords in them."""
    for line in _lines(value, armored=False):
        yield from (each[1] or each[2] for each in PASSWORD.finditer(line))
        while match := ASSIGNMENT.fullmatch(line):
            line = _unquoted(match[1].strip().rstrip(b",;"))
            if line:
                yield line


def _unquoted(text: bytes) -> bytes:
    in_quotes = len(text) > 1 and text[:1] in b"\"'" and text[:1] == text[-1:]
    return text[1:-1] if in_quotes else text


def _json_texts(value: bytes) -> Iterator[bytes]:
    try:
        values = [json.loads(value)]
    except (ValueError, RecursionError):
        return
    while values:
        match values.pop():
            case dict(members):
                values += members.values()
            case list(elements):
                values += elements
            case str(text):
                yield from _lines(text.encode(errors="replace"))


# --- as bytes are encoded -----------------------------------------------------------------------


def _binary(value: bytes) -> Iterator[bytes]:
    yield value.hex().encode()
    yield value.hex().upper().encode()
    for encode in (b64encode, urlsafe_b64encode):
        # `echo` adds a newline to what it hands to an encoder.
        for whole in (value, value + b"\n"):
            yield encode(whole)
        yield from (_inside_base64(encode, value, before) for before in range(3))


def _inside_base64(encode: Callable[[bytes], bytes], value: bytes, before: int) -> bytes:
    """The digits that depend on `value` alone, when so many bytes more than a multiple of three
    come before it."""
    first, end = (before * 8 + 5) // 6, (before + len(value)) * 8 // 6
    return encode(bytes(before) + value)[first:end]


# --- as texts are quoted ------------------------------------------------------------------------


def _quoted(part: bytes) -> Iterator[bytes]:
    yield from _in_addresses(part)
    yield from _in_shells(part)
    try:
        text = part.decode()
    except UnicodeDecodeError:
        return
    yield from (form.encode() for form in _in_programs(text))


def _in_addresses(part: bytes) -> Iterator[bytes]:
    for form in (
        *(quote(part, safe=safe) for safe in ("/", "", LEFT_BY_JAVASCRIPT)),
        *(quote_plus(part, safe=safe) for safe in ("", "*")),
    ):
        yield form.encode()
        yield re.sub("%..", lambda escape: escape[0].lower(), form).encode()


def _in_shells(part: bytes) -> Iterator[bytes]:
    """As `set -x`, `declare -p` and `printf %q` show it, and as a script may have it."""
    yield part.replace(b"'", b"'\\''")
    yield part.replace(b"'", b"'\"'\"'")
    yield SHELL_SPECIAL.sub(rb"\\\g<0>", part)
    yield SPECIAL_IN_DOUBLE_QUOTES.sub(rb"\\\g<0>", part)
    yield from (_dollar_quoted(part, keep) for keep in (range(0), range(128, 256)))


def _dollar_quoted(part: bytes, keep: range) -> bytes:
    """As in `$'...'`, which shows what cannot be printed."""

    def escape(byte: int) -> str:
        if byte in CONTROL:
            return f"\\{CONTROL[byte]}"
        if byte in b"\\'":
            return f"\\{byte:c}"
        return chr(byte) if 32 <= byte < 127 or byte in keep else f"\\{byte:03o}"

    return "".join(map(escape, part)).encode("latin-1")


def _in_programs(text: str) -> Iterator[str]:
    """String literals: JSON in its dialects, Python, C."""
    for ascii_only in (True, False):
        form = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield form
        yield form.replace("/", "\\/")
        # What Go's encoder does, lest a browser take it for HTML.
        yield re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", form)
    yield repr(text)[1:-1]
    yield repr(text.encode())[2:-1]
