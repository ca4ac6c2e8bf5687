"""Which images there are: their names, aliases and processors, read from the recipes.

A recipe is a directory `images/<distribution>/<release>` with an `image.yml`. Knows nothing of
how an image is built or whether some build host has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from buildsrht.errors import OperatorError

DESCRIPTION = "image.yml"


@dataclass(frozen=True)
class Image:
    name: str
    aliases: tuple[str, ...]
    arches: tuple[str, ...]
    recipe: Path

    @property
    def default_arch(self) -> str:
        return self.arches[0]


class Catalogue:
    def __init__(self, images: Mapping[str, Image]):
        self.images = tuple(images.values())
        self._by_name = dict(images)
        for image in self.images:
            for alias in image.aliases:
                if alias in self._by_name:
                    raise OperatorError(
                        f"{image.recipe}/image.yml: alias {alias} already names "
                        f"{self._by_name[alias].name}"
                    )
                self._by_name[alias] = image

    def find(self, name: str) -> Image | None:
        """The image of this name or alias."""
        return self._by_name.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_name))


def load(recipes: Path) -> Catalogue:
    """Read every recipe below `recipes`; OperatorError names a file that is not as it must be."""
    images = {}
    for path in sorted(recipes.glob(f"*/*/{DESCRIPTION}")):
        name = f"{path.parent.parent.name}/{path.parent.name}"
        images[name] = _image(name, path)
    if not images:
        raise OperatorError(f"[images] recipes: no */*/image.yml below {recipes}")
    return Catalogue(images)


def _image(name: str, path: Path) -> Image:
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        aliases, arches = description.get("aliases", []), description["arches"]
    except (yaml.YAMLError, AttributeError, KeyError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path}: needs `arches` and may have `aliases`: {error}") from error
    for field, words in (("aliases", aliases), ("arches", arches)):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise OperatorError(f"{path}: {field} must be a list of words, got {words!r}")
    if not arches:
        raise OperatorError(f"{path}: arches must name at least one processor")
    return Image(name, tuple(aliases), tuple(arches), path.parent)
