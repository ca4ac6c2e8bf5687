"""Who may know whom: imports point one way, and nobody reaches around a layer."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HTTP = ("flask", "werkzeug", "authlib", "gunicorn")
SURFACES = (
    *("buildsrht.app", "buildsrht.api", "buildsrht.oauth", "buildsrht.web"),
    "buildsrht.cli",
)

# What a job is; a machine has no idea.
JOBS = (
    *("buildsrht.services", "buildsrht.manifest", "buildsrht.models", "buildsrht.backend"),
    *("worker.run_job", "worker.steps", "worker.machines", "worker.logbook"),
)

MAY_NOT_IMPORT = {
    "buildsrht": ("worker", "tests"),
    "buildsrht/services": (*HTTP, *SURFACES, "click", "buildsrht.hooks", "buildsrht.graphql"),
    "buildsrht/checks": (*HTTP, *SURFACES, "click"),
    "buildsrht/health": (*HTTP, *SURFACES, "click"),
    "buildsrht/hooks": (*HTTP, *SURFACES, "click"),
    "buildsrht/models.py": (*HTTP, *SURFACES, "click", "buildsrht.services"),
    "buildsrht/status.py": (*HTTP, *SURFACES, "click", "buildsrht.services"),
    "buildsrht/outbox.py": (*HTTP, *SURFACES, "click", "buildsrht.services"),
    "buildsrht/courier": (*HTTP, *SURFACES, "click"),
    "buildsrht/queue.py": (*HTTP, *SURFACES, "click", "buildsrht.services", "buildsrht.models"),
    "buildsrht/logs.py": (*HTTP, *SURFACES, "click", "buildsrht.services"),
    "buildsrht/archives.py": (*HTTP, *SURFACES, "click", "buildsrht.services", "buildsrht.models"),
    "buildsrht/storage.py": (*HTTP, *SURFACES, "click", "buildsrht.services", "buildsrht.models"),
    "buildsrht/backend.py": (*HTTP, *SURFACES, "click", "buildsrht.services"),
    "buildsrht/graphql": (*HTTP, *SURFACES, "click"),
    **dict.fromkeys(("buildsrht/serving.py", "buildsrht/browsing.py"), (*SURFACES, "click")),
    "buildsrht/web": ("buildsrht.api", "buildsrht.app", "buildsrht.cli", "click", "sqlalchemy"),
    "buildsrht/oauth": (
        "buildsrht.web",
        "buildsrht.api",
        "buildsrht.app",
        "buildsrht.cli",
        "click",
    ),
    "buildsrht/api": ("buildsrht.web", "buildsrht.app", "buildsrht.cli", "click", "sqlalchemy.orm"),
    "buildsrht/cli": ("flask", "authlib"),
    # A client starts fast, and knows of a server what anybody may.
    **dict.fromkeys(
        [f"buildsrht/{name}.py" for name in ("client", "follow", "logins", "device_flow")],
        (*HTTP, *SURFACES, "click", "sqlalchemy", "buildsrht.services", "buildsrht.models"),
    ),
    "worker": (*HTTP, *SURFACES),
    **dict.fromkeys(
        ("worker/vm.py", "worker/qemu.py", "worker/snapshots.py", "worker/spares.py"), JOBS
    ),
    "worker/gateway": (
        *("worker.vm", "worker.qemu", "worker.snapshots", "worker.machines", "worker.kept"),
        *("worker.run_job", "worker.steps"),
    ),
    "worker/steps.py": ("worker.vm", "worker.qemu", "worker.machines", "worker.snapshots"),
}


def sources(place):
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imports(source):
    """The dotted names that a file imports, at its top or anywhere else."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name, package):
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize(("place", "banned"), MAY_NOT_IMPORT.items())
def test_layers_only_point_downwards(place, banned):
    assert sources(place)
    for source in sources(place):
        slips = [name for name in imports(source) for package in banned if is_within(name, package)]
        assert slips == [], source


def test_the_manifest_knows_nothing_of_ours_but_errors():
    allowed = ("buildsrht.manifest", "buildsrht.errors")
    for source in sources("buildsrht/manifest"):
        ours = [name for name in imports(source) if is_within(name, "buildsrht")]
        assert [name for name in ours if not any(is_within(name, a) for a in allowed)] == [], source
