"""What a report comes down to: refs and the commits that they point to now.

Everything here has been checked, so that it may become an argument of git, a variable of a job or a
part of an address.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from buildsrht.errors import BadInput, FieldError

LONGEST_REF = 255
# What git allows in a ref, less control characters beyond ASCII: they would reach terminals.
_REF = re.compile(r"refs/(?:heads|tags)/[^\x00-\x20\x7f-\x9f~^:?*\[\\]+")
_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Update:
    """A ref, and the object that it points to: a commit, or a tag of one."""

    ref: str
    object: str


@dataclass(frozen=True)
class Event:
    """`request` is the number of a pull request: what it has was written by anybody at all. `head`
    is where its commit can be cloned from, if that is a fork."""

    updates: tuple[Update, ...]
    request: int | None = None
    head: str | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether only somebody who may write to the repository can have caused it."""
        return self.request is None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "updates": [asdict(update) for update in self.updates]}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Event":
        updates = tuple(Update(**update) for update in document["updates"])
        return cls(updates, document["request"], document["head"])


@dataclass(frozen=True)
class Ignored:
    """A genuine report of something that is not built."""

    reason: str


def is_buildable(ref: str) -> bool:
    """Branches and tags are built; notes and what else a forge keeps in refs are not."""
    return (
        bool(_REF.fullmatch(ref))
        and len(ref) <= LONGEST_REF
        and not any(part in ref for part in ("..", "//", "@{", "/.", ".lock/"))
        and not ref.endswith(("/", ".", ".lock"))
    )


def is_nothing(object_id: str | None) -> bool:
    """Whether a ref that points there has been deleted."""
    return object_id is None or not object_id.strip("0")


def check_object(field: str, object_id: Any) -> str:
    if not isinstance(object_id, str) or not _OBJECT.fullmatch(object_id):
        raise BadInput([FieldError(field, "must be 40 or 64 of 0-9 and a-f")])
    return object_id
