"""The manual page says what the commands are now, and `man` has nothing to complain of."""

import os
import subprocess

from buildsrht.cli import commands
from contrib.man import PLACE, page


def test_the_manual_page_is_fresh():
    committed = PLACE.read_text() if PLACE.exists() else ""
    assert committed == page(commands), f"{PLACE.name} is out of date: run `make man`"


def shown() -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["man", "--warnings", "-l", PLACE],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MANROFFOPT": "-c"},
        capture_output=True,
        text=True,
        check=True,
    )


def test_man_shows_it_without_a_warning():
    assert shown().stderr == ""


def test_every_command_has_its_place_in_it():
    text = " ".join(shown().stdout.split())
    for path in paths(commands, "buildsrht"):
        assert f"{path} " in text


def paths(command, path):
    inner = getattr(command, "commands", {})
    return [each for name in inner for each in paths(inner[name], f"{path} {name}")] or [path]


def test_what_looks_like_markup_is_shown_as_it_is():
    text = shown().stdout
    assert "Without any it is .build.yml and" in " ".join(text.split())
    assert "--no-execute" in text
    assert "\\" not in text
