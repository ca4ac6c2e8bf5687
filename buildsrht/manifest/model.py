"""What a manifest is, once it has been read and found good.

Everything is frozen and already checked; nothing here needs to be validated again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def _nothing() -> Mapping:
    return MappingProxyType({})


@dataclass(frozen=True)
class Source:
    """A repository to clone into the home directory, and to check out at `ref` if there is one."""

    url: str
    scm: str  # "git" or "hg"
    directory: str  # relative, and inside the home directory
    ref: str | None = None


@dataclass(frozen=True)
class Grant:
    """Leave to use one scope of one service; `access` is "RO" or "RW"."""

    service: str
    scope: str
    access: str = "RO"


@dataclass(frozen=True)
class Task:
    """One script, run in a login of its own."""

    name: str
    script: str


@dataclass(frozen=True)
class Trigger:
    """Whom to tell when the job has ended: `to` for an email, `url` for a webhook."""

    action: str  # "email" or "webhook"
    condition: str  # "always", "success" or "failure"
    to: str | None = None
    cc: str | None = None
    in_reply_to: str | None = None
    url: str | None = None

    @property
    def as_written(self) -> dict[str, str]:
        """The keys that the manifest gives."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Submitter:
    """What the manifest asks of a service that submits it on a push or a patch.

    `allow_refs` are patterns of which a pushed ref must match one; None admits every ref.
    """

    enabled: bool = True
    allow_refs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """What one job needs and does.

    Values of `environment` are the text that the author wrote, or a tuple of it for a list:
    `1.10` stays "1.10" and `true` stays "true"; null is "".
    """

    image: str
    arch: str | None = None  # None leaves it to the image
    packages: tuple[str, ...] = ()
    repositories: Mapping[str, str] = field(default_factory=_nothing)
    sources: tuple[Source, ...] = ()
    environment: Mapping[str, str | tuple[str, ...]] = field(default_factory=_nothing)
    secrets: tuple[str, ...] = ()  # UUIDs or names, as written
    oauth: str | None = None  # as written; `grants` is what it means
    grants: tuple[Grant, ...] = ()
    labels: tuple[str, ...] = ()  # of the build host, in the order of their names
    layers: bool = True  # whether packages may come from a layer, installed before
    shell: bool = False
    artifacts: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    submitter: Mapping[str, Submitter] = field(default_factory=_nothing)  # by service
