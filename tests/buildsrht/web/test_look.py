"""The colours of the pages: words are read on whatever they stand on, by day and by night."""

import re
from pathlib import Path

import pytest

from tests.contrast import contrast

SHEET = Path(__file__).parents[3] / "buildsrht/web/static/style.css"
# WCAG 2.2, 1.4.3 and 1.4.11.
WORDS, EDGES = 4.5, 3.0

STATUSES = ("success", "failed", "timeout", "cancelled", "running", "waiting")
READ = [
    *(
        (ink, paper)
        for ink in ("ink", "faint", "accent", *STATUSES)
        for paper in ("paper", "sheet", "hover")
    ),
    *(("on-accent", "accent"), ("ink", "good"), ("bad-ink", "bad")),
]


def colours() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", SHEET.read_text(), re.DOTALL)[:2]
    named = {
        name: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", text))
        for name, text in {"light": light, "dark": dark}.items()
    }
    assert named["light"].keys() == named["dark"].keys()
    return named


@pytest.mark.parametrize("light", ["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), READ)
def test_words_are_read(light, ink, paper):
    named = colours()[light]
    assert contrast(named[ink], named[paper]) >= WORDS


@pytest.mark.parametrize("light", ["light", "dark"])
@pytest.mark.parametrize("paper", ["paper", "sheet"])
def test_fields_and_buttons_have_an_edge(light, paper):
    named = colours()[light]
    for edge in ("faint", "accent", "failed"):
        assert contrast(named[edge], named[paper]) >= EDGES
