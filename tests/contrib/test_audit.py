"""`make audit`: what it says of what its list says."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "contrib/audit"
SOUND = {"name": "flask", "version": "3.1", "vulns": []}
BROKEN = {
    "name": "jinja2",
    "version": "2.4",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.5", "3.0"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


@pytest.fixture
def tell(capsys):
    loader = SourceFileLoader("audit", str(SCRIPT))
    module = module_from_spec(spec_from_loader("audit", loader))
    loader.exec_module(module)
    return lambda *packages: (module.tell(list(packages)), capsys.readouterr().out.splitlines())


def test_packages_that_are_sound_pass(tell):
    assert tell(SOUND) == (0, ["0 of 1 packages are known to be vulnerable."])


def test_one_that_is_vulnerable_fails_and_says_by_what(tell):
    assert tell(SOUND, BROKEN) == (
        1,
        [
            "jinja2 2.4: CVE-1, mended in 2.5, 3.0",
            "jinja2 2.4: CVE-2, mended in none",
            "1 of 2 packages are known to be vulnerable.",
        ],
    )


def test_what_nobody_knows_anything_of_is_not_called_sound(tell):
    assert tell(SOUND, UNKNOWN) == (
        0,
        [
            "NOT AUDITED: 1 of 2 packages, which the list lacks",
            "0 of 1 packages are known to be vulnerable.",
        ],
    )
