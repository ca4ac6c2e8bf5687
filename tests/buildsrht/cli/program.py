"""`buildsrht` as a process of its own, with the code of this checkout."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[3]
VARIABLES = ("BUILDSRHT_CONFIG", "BUILDSRHT_TOKEN", "BUILDSRHT_URL", "PORT", "VAR")


def environment(**variables: str) -> Mapping[str, str]:
    """Ours, with no other variables for `buildsrht` than these, and no logins."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    ours = {"PYTHONPATH": str(CHECKOUT), "XDG_CONFIG_HOME": "/nonexistent"}
    return {**inherited, **ours, **variables}


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    defaults = {"env": environment(), "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "buildsrht", *arguments], **defaults | options)
