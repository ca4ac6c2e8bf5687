"""What is hidden of a secret: by example, each form made by the tool that makes it."""

import base64
import json
import shutil
import subprocess
import urllib.parse

import pytest

from worker.disguises import MINIMUM, disguises, is_partly_too_short

PASSWORD = 'it\'s "$HOME" & <käse>/50%\\\t`x`'
ARMORED = b"""\
-----BEGIN PGP PRIVATE KEY BLOCK-----
Version: GnuPG v2
Comment: made on a Monday

lQOYBGA8ZxIBCADbb4uS1zmEZk9xV5p0Hh6QnYvq2bLzC8w7rJ3KfUo1RtXaE5Sd
=njUN
-----END PGP PRIVATE KEY BLOCK-----
"""


def is_hidden(text: str | bytes, value: str | bytes) -> bool:
    """Whether a secret of this value is hidden where the text shows it."""
    text, value = (each.encode() if isinstance(each, str) else each for each in (text, value))
    return text in disguises(value)


def bash(script: str, value: str) -> bytes:
    return subprocess.run(
        ["bash", "-c", script, "bash", value],
        check=True,
        capture_output=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    ).stdout


# --- parts ----------------------------------------------------------------------------------------


def test_each_line_of_a_secret_is_hidden():
    forms = disguises(b"first line\r\n  second line\n\nshort\nlast line")
    assert {b"first line", b"second line", b"last line"} <= forms
    assert b"short" not in forms


@pytest.mark.parametrize(
    "line",
    [
        "PASSWORD=correct horse",
        "export PASSWORD='correct horse'",
        'password: "correct horse"',
        "password = correct horse;",
        "user:correct horse",
        "//registry.example.org/:_authToken=correct horse",
        '  "password": "correct horse",',
    ],
)
def test_what_a_line_assigns_is_hidden_by_itself(line):
    assert is_hidden("correct horse", f"first line\n{line}\n")
    assert is_hidden(line.strip(), f"first line\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        "machine example.org login ann password swordfish",
        "machine example.org password swordfish login ann",
        "https://ann:swordfish@example.org/",
        "DATABASE=postgres://ann:swordfish@example.org/db?password=none",
    ],
)
def test_a_password_in_a_line_is_hidden_by_itself(line):
    assert is_hidden("swordfish", line)
    assert not is_hidden("example.org", line)


def test_an_address_is_no_assignment():
    assert is_hidden("//example.org/path", "https://example.org/path") is False
    assert is_hidden("https://u:p@example.org", "URL=https://u:p@example.org")


def test_every_text_in_json_is_hidden():
    document = {"auths": {"example.org": {"auth": "YWRhOnBhc3N3b3Jk", "port": 12345678}}}
    document = [document, "another text"]
    for layout in (None, 2):
        forms = disguises(json.dumps(document, indent=layout).encode())
        assert {b"YWRhOnBhc3N3b3Jk", b"another text"} <= forms


def test_the_frame_and_the_headers_of_armor_are_not_hidden():
    forms = disguises(ARMORED)
    assert ARMORED.splitlines()[4] in forms
    for line in (*ARMORED.splitlines()[:3], ARMORED.splitlines()[-1], b"GnuPG v2"):
        assert line not in forms


def test_what_is_too_short_is_not_hidden_in_any_form():
    assert MINIMUM == 8
    assert disguises(b"1234567") & {b"1234567", b"31323334353637"} == {b"31323334353637"}
    assert b"12345678" in disguises(b"12345678")


@pytest.mark.parametrize(
    ("value", "too_short"),
    [
        (b"1234567", True),
        (b"12345678", False),
        (b"", False),
        (b"12345678\n\n", False),
        (b"12345678\nabc\n", True),
        (b"LONG_ENOUGH_NAME=1234567", True),
        (b"dGVzdCB0ZXN0IHQ=", False),
        (b"dGVzdCB0ZXN0IA==", False),
        (b"https://example.org/", False),
        (b'{"key": "12345678",\n"on": true}', False),
        (b'{"key": "1234567"}', True),
        (ARMORED, False),
    ],
)
def test_a_secret_with_a_part_that_is_too_short_is_known(value, too_short):
    assert is_partly_too_short(value) is too_short


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize(
    "value", [bytes(range(248, 256)) + b"abc", b"\xff\xfe\xfd" * 5, b"12345678"]
)
def test_base64_is_hidden_wherever_it_begins(encode, value, before):
    [first, last] = [bytes(before) + value + bytes(behind) for behind in (0, 5)]
    found = [form for form in disguises(value) if form in encode(last)]
    # All digits but the outermost ones, which are not of the secret alone.
    assert max(map(len, found)) >= len(value) * 8 // 6 - 1
    assert any(form in encode(first) for form in found)


@pytest.mark.parametrize("value", ["12345678", "123456789", "1234567890"])
def test_base64_is_hidden_with_its_padding_and_the_newline_that_echo_adds(value):
    for whole in (value, value + "\n"):
        encoded = base64.b64encode(whole.encode())
        assert is_hidden(encoded, value)


@pytest.mark.parametrize("value", [b"12345678", b"\x00\xff\n" * 5])
def test_hex_is_hidden_in_both_cases(value):
    assert is_hidden(value.hex(), value)
    assert is_hidden(value.hex().upper(), value)


@pytest.mark.parametrize(
    "script",
    [
        'printf %q "$1"',
        'printf %s "${1@Q}"',
        'set -x; : "$1"',
        'set -x; key="$1"',
        "declare -p 1 2>/dev/null; value=$1; declare -p value",
        'export value="$1"; export -p',
    ],
)
@pytest.mark.parametrize(
    "value", ["it's a secret", 'a$b`c\\d"e f', "tab\there's", "käsekuchen", "bell\a\033[0m'x"]
)
def test_it_is_hidden_as_bash_shows_it(script, value):
    said = bash(f"exec 2>&1; {script}", value)
    assert any(form in said for form in disguises(value.encode())), said


@pytest.mark.parametrize(
    "encode",
    [
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps(text).replace("/", "\\/"),
        repr,
        lambda text: repr(text.encode()),
        urllib.parse.quote,
        urllib.parse.quote_plus,
        lambda text: urllib.parse.quote(text, safe=""),
        lambda text: urllib.parse.urlencode({"x": text}),
        lambda text: urllib.parse.quote(text).lower().replace("home", "HOME"),
    ],
)
def test_it_is_hidden_as_programs_show_it(encode):
    shown = encode(PASSWORD).encode()
    longest = max((form for form in disguises(PASSWORD.encode()) if form in shown), key=len)
    # Nothing but what the encoder puts around it is left.
    assert len(shown) - len(longest) <= 3


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
def test_it_is_hidden_as_jq_shows_it():
    run = ["jq", "-Rs", "."]
    shown = subprocess.run(run, input=PASSWORD, check=True, capture_output=True, text=True).stdout
    assert any(form.decode() == shown.strip()[1:-1] for form in disguises(PASSWORD.encode()))


def test_what_is_not_utf_8_is_hidden_too():
    assert {b"\xff\xfe secret", rb"$'\377\376 secret'"[2:-1], b"%FF%FE%20secret"} <= disguises(
        b"\xff\xfe secret"
    )
