"""What a job's tasks see: the text of ~/.buildenv and of each script in ~/.tasks.

Pure text in, text out; compat.md's B.2 names the contents.
"""

import shlex
from collections.abc import Mapping

from buildsrht.manifest import Manifest, Task

TASKS = ".tasks"
BUILD_ENVIRONMENT = ".buildenv"
# Holds `1` once a task called complete-build.
COMPLETE = ".complete-build"

COMPLETE_BUILD = f"""\
complete-build() {{
    echo 1 >~/{COMPLETE}
    exit 0
}}
"""


def build_environment(manifest: Manifest, always: Mapping[str, str]) -> str:
    """~/.buildenv: the manifest's variables, then `always`, which they cannot override."""
    lines = [_assign(name, value) for name, value in manifest.environment.items()]
    lines += [_assign(name, value) for name, value in always.items()]
    return "\n".join(lines) + "\n" + COMPLETE_BUILD


def _assign(name: str, value: str | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        # An array cannot be exported.
        return f"{name}=({' '.join(shlex.quote(item) for item in value)})"
    return f"export {name}={shlex.quote(value)}"


def task_script(task: Task) -> str:
    """A task's script, made executable by itself: `~/.tasks/build` can be run again by hand."""
    return f"#!/usr/bin/env bash\n. ~/{BUILD_ENVIRONMENT}\nset -xe\n{task.script}\n"
