"""The manifests of the benchmark's jobs, each of one task."""

import json
from collections.abc import Sequence

from bench.place import IMAGE

TASK = "measured"


def manifest(script: str, packages: Sequence[str] = ()) -> str:
    # JSON is YAML too.
    return json.dumps({"image": IMAGE, "packages": [*packages], "tasks": [{TASK: script}]})


TRIVIAL = manifest("echo hello")
TRIVIAL_LOG = b"+ echo hello\nhello\n"
