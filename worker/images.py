"""The images that this host has: built from the recipes, found by name, replaced when stale.

An image is a directory `<images>/<distribution>/<release>/<arch>/<key>-<time>` with a root disk
and, unless the machine's firmware is to boot that, a kernel and what belongs to it. `key` is a
digest of the recipe, so a changed recipe is a different image; `current` points to the one that
jobs start from. A build happens aside and becomes current in one step; machines that run from the
older one are not disturbed.

docs/images.md says what a recipe must do. Knows nothing of jobs or of starting a machine.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildsrht import catalogue
from buildsrht.catalogue import Image
from buildsrht.config import Config
from worker.directories import locked
from worker.errors import ImageMissing, RunnerError

CURRENT = "current"
AGENT = "agent.py"
BUILD_SECONDS = 3600


@dataclass(frozen=True)
class BuiltImage:
    name: str
    arch: str
    directory: Path

    @property
    def version(self) -> str:
        """Which build of the image it is: what it was made from, and when."""
        return self.directory.name

    @property
    def disk(self) -> Path:
        return self.directory / "disk.raw"

    @property
    def kernel(self) -> Path | None:
        """None where the machine's firmware boots the disk."""
        return self._optional("kernel")

    @property
    def initrd(self) -> Path | None:
        return self._optional("initrd")

    @property
    def cmdline(self) -> str:
        return (self.directory / "cmdline").read_text().strip() if self.kernel else ""

    def _optional(self, name: str) -> Path | None:
        path = self.directory / name
        return path if path.exists() else None


def find_built(config: Config, name: str, arch: str) -> BuiltImage | None:
    """The image that jobs start from now, if there is one."""
    current = _home(config, name, arch) / CURRENT
    if not current.exists():
        return None
    # Resolved once: a new build may move the link while a machine starts.
    return BuiltImage(name, arch, current.resolve())


def require_built(config: Config, name: str, arch: str) -> BuiltImage:
    image = find_built(config, name, arch)
    if image is None:
        raise ImageMissing(
            f"The image {name} ({arch}) is not built on {config.worker.name}; its operator can "
            f"run `buildsrht image build {name}`."
        )
    return image


def is_fresh(config: Config, image: Image, arch: str) -> bool:
    """Whether what is built here is what the recipe says today."""
    built = find_built(config, image.name, arch)
    key = recipe_key(config, image, arch)
    return built is not None and built.directory.name.partition("-")[0] == key


def recipe_key(config: Config, image: Image, arch: str) -> str:
    """Digest of everything that an image is made from, but for the packages of the day."""
    digest = hashlib.sha256(
        f"{image.name} {arch} {config.images.disk} {config.images.mirror}".encode()
    )
    family = image.recipe.parent
    sources = [config.images.recipes / AGENT, _find_script(image, "build")]
    for directory in (family / "files", image.recipe):
        sources += sorted(path for path in directory.rglob("*") if path.is_file())
    # Names do not go into an image, so moving an alias makes none stale.
    sources.remove(image.recipe / catalogue.DESCRIPTION)
    for source in sources:
        digest.update(f"{source.relative_to(config.images.recipes)}\0".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def build(config: Config, image: Image, arch: str, *, refresh: bool = False) -> BuiltImage:
    """Build an image, unless it is fresh, and make it current. The recipe's output goes to ours.

    With `refresh` it is built in any case, from the packages of today. Only one process at a time
    builds an image; others wait, then find it fresh. Raises RunnerError when the recipe fails; the
    image that was current then still is.
    """
    home = _home(config, image.name, arch)
    with locked(home / "lock"):
        if refresh or not is_fresh(config, image, arch):
            name = f"{recipe_key(config, image, arch)}-{time.time_ns()}"
            with _working_directory(home) as directory:
                _run_recipe(config, image, arch, directory)
                _check_product(BuiltImage(image.name, arch, directory))
                directory.rename(home / name)
            previous = find_built(config, image.name, arch)
            _point_current(home, name)
            _remove_others(home, {name, previous.directory.name if previous else name})
    return require_built(config, image.name, arch)


def _home(config: Config, name: str, arch: str) -> Path:
    return config.images.path / name / arch


@contextmanager
def _working_directory(home: Path) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="building-", dir=home))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run_recipe(config: Config, image: Image, arch: str, out: Path) -> None:
    script = _find_script(image, "build")
    variables = {
        "RELEASE": image.name.rpartition("/")[2],
        "ARCH": arch,
        "OUT": str(out),
        "DISK_BYTES": str(config.images.disk),
        "AGENT": str(config.images.recipes / AGENT),
        "MIRROR": config.images.mirror,
    }
    result = subprocess.run(
        [str(script)],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if result.returncode != 0:
        raise RunnerError(f"{script} for {image.name} ({arch}): exit status {result.returncode}")


def _check_product(built: BuiltImage) -> None:
    """A recipe may forget a file and succeed all the same."""
    needed = ["disk.raw", *(["cmdline"] if built.kernel else [])]
    missing = [name for name in needed if not (built.directory / name).exists()]
    if missing:
        raise RunnerError(f"the recipe of {built.name} made no {' and no '.join(missing)}")


def _find_script(image: Image, name: str) -> Path:
    """A release may bring its own script; most share their distribution's."""
    own = image.recipe / name
    return own if own.exists() else image.recipe.parent / name


def _point_current(home: Path, name: str) -> None:
    link = home / f".{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    link.rename(home / CURRENT)


def _remove_others(home: Path, kept: set[str]) -> None:
    """The previous image stays until the next build: a machine may be starting from it."""
    for path in home.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
