"""What a job's tasks see: the text of ~/.buildenv and of each script in ~/.tasks.

Pure text in, text out; compat.md's B.2 names the contents.
"""

import shlex
from collections.abc import Mapping
from urllib.parse import urlsplit

from buildsrht import urls
from buildsrht.manifest import Manifest, Task

TASKS = ".tasks"
BUILD_ENVIRONMENT = ".buildenv"
# Holds `1` once a task called complete-build.
COMPLETE = ".complete-build"
# What the client `hut` reads, and the services of it that this one answers for.
HUT_CONFIG = ".config/hut/config"
HUT_SERVICES = ("builds", "meta")

COMPLETE_BUILD = f"""\
complete-build() {{
    echo 1 >~/{COMPLETE}
    exit 0
}}
"""

# The token is in nobody's arguments, and the whole is a subshell, so that the task's tracing goes
# on behind it.
ACURL = """\
acurl() (
    { set +x; } 2>/dev/null
    : "${OAUTH2_TOKEN:?is not set: the manifest has no oauth, or the job no secrets}"
    curl -H @<(printf 'Authorization: Bearer %s' "$OAUTH2_TOKEN") "$@"
)
"""


def always_set(origin: str, owner: str, job_id: int, token: str | None = None) -> dict[str, str]:
    """The variables that a manifest cannot change."""
    variables = {
        "CI_NAME": "sourcehut",
        "JOB_ID": str(job_id),
        "JOB_URL": urls.job_page(origin, owner, job_id),
    }
    return variables if token is None else {**variables, "OAUTH2_TOKEN": token}


def build_environment(manifest: Manifest, always: Mapping[str, str]) -> str:
    """~/.buildenv: the manifest's variables, then `always`, in place of those of the same name."""
    # Left out, not overridden: what has been an array stays one, and that cannot be exported.
    variables = {name: each for name, each in manifest.environment.items() if name not in always}
    lines = [_assign(name, value) for name, value in {**variables, **always}.items()]
    return "\n".join(lines) + "\n" + COMPLETE_BUILD + ACURL


def _assign(name: str, value: str | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        # An array cannot be exported.
        return f"{name}=({' '.join(shlex.quote(item) for item in value)})"
    return f"export {name}={shlex.quote(value)}"


def task_script(task: Task) -> str:
    """A task's script, made executable by itself: `~/.tasks/build` can be run again by hand."""
    return f"#!/usr/bin/env bash\n. ~/{BUILD_ENVIRONMENT}\nset -xe\n{task.script}\n"


def hut_config(origin: str, token: str) -> str:
    """hut's configuration, with this service as its only instance."""
    services = "".join(
        f"    {service} {{\n        origin {_hut_string(origin)}\n    }}\n"
        for service in HUT_SERVICES
    )
    instance = _hut_string(urlsplit(origin).netloc)
    return f"instance {instance} {{\n    access-token {_hut_string(token)}\n{services}}}\n"


def _hut_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
