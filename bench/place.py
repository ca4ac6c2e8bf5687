"""Where one run of the benchmark keeps everything: a directory of its own below VAR.

The images are VAR's, and so is the template: whoever runs a server has both. There is no package
layer at first. All of it is gone when the block ends.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.errors import MeasurementFailed
from buildsrht import catalogue
from buildsrht import config as settings
from buildsrht.config import Config
from worker import templates
from worker.machines import find_platform
from worker.platforms import Platform
from worker.snapshots import Snapshot

# As contrib/demo and `make image` have it.
IMAGE = "debian/stable"


@dataclass(frozen=True)
class Place:
    directory: Path
    images: Path
    platform: Platform
    template: Snapshot

    def environment(self, name: str, workers: int, spares: int) -> Mapping[str, str]:
        """The variables of a service with a state of its own, made ready to start."""
        var = self.directory / name
        var.mkdir()
        config = var / "config.ini"
        config.write_text(
            f"[images]\npath = {self.images}\n"
            f"[snapshots]\npath = {self.directory}/snapshots\nspares = {spares}\n"
            f"[worker]\ncount = {workers}\n"
            # One client is all who measure.
            "[limits]\nrequests = none\nsubmissions = none\n"
        )
        return {**os.environ, "VAR": str(var), "BUILDSRHT_CONFIG": str(config)}


@contextmanager
def made(var: Path) -> Iterator[Place]:
    var.mkdir(parents=True, exist_ok=True)
    # Below VAR, as only files of one file system can be linked.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=var) as name:
        directory = Path(name)
        operators = _find_platform(settings.load({"VAR": str(var)}))
        original = templates.require(operators, print)
        if original is None:
            raise MeasurementFailed("there is no template; the line above says why")
        config = settings.load({"VAR": name})
        platform = Platform(config, operators.image, operators.hardware)
        copy = templates.home_of(platform) / original.key
        # Sealed by size and time, which links share.
        shutil.copytree(original.directory, copy, copy_function=os.link)
        yield Place(directory, var / "images", platform, Snapshot(copy, original.made))


def _find_platform(config: Config) -> Platform:
    image = catalogue.load(config.images.recipes).find(IMAGE)
    assert image, f"{IMAGE} is one of the recipes"
    return find_platform(config, image.name, image.default_arch)
