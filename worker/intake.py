"""Which jobs this build host takes, and whether it takes any now.

A slot looks before it takes a job, so that a job which could not run here stays for other hosts. It
asks no server: what the operator decided about this host its janitor has written beside the
directory of the runs.
"""

from collections.abc import Iterator
from pathlib import Path

from buildsrht.catalogue import Catalogue
from buildsrht.config import Config
from buildsrht.models import RunnerState
from buildsrht.services.dispatch import Offer
from worker import disk_space, images, memory


def offer(config: Config, catalogue: Catalogue) -> Offer:
    """What this host can run: what `[worker] images` says, or the images that are built here."""
    host = config.worker
    return Offer(host.name, frozenset(_platforms(config, catalogue)), frozenset(host.labels))


def _platforms(config: Config, catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    wanted = config.worker.images
    for image in catalogue.images:
        for arch in image.arches:
            if image.name in wanted or (not wanted and images.find_built(config, image.name, arch)):
                yield image.name, arch


def refusal(config: Config) -> str | None:
    """Why this host takes no job now; None if it does."""
    return _order(config) or disk_space.shortage(config) or memory.shortage(config)


def obey(config: Config, state: RunnerState) -> None:
    """Have the slots of this host do from now on what the operator decided about it."""
    flag = _flag(config)
    if state == RunnerState.ACTIVE:
        flag.unlink(missing_ok=True)
    elif not flag.exists():
        flag.parent.mkdir(parents=True, exist_ok=True)
        flag.touch()


def _order(config: Config) -> str | None:
    if _flag(config).exists():
        return f"{config.worker.name} is being drained or was retired; no job is started here"
    return None


def _flag(config: Config) -> Path:
    path = config.worker.path
    return path.with_name(f"{path.name}.closed")
