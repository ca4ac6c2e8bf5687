"""What can go wrong, sorted by whose fault it is.

The class decides the answer: the API turns each into one HTTP status, the command line into
one sentence and an exit code. A message names the place, the value and the rule.

BuildsError
├── BadInput          400  the request; carries every problem with its field
│   └── ManifestError      the manifest's text (in buildsrht.manifest)
├── Unauthorized      401  no token, or one that is unknown, expired or revoked
├── Forbidden         403  a good token that lacks a scope, or somebody else's job
├── NotFound          404  also for a job that the caller may not see
├── Conflict          400  the job is no longer in the state that the request assumes
├── Gone              410  it existed and was removed on purpose
├── TooMany           429  more attempts than anybody may make in a time
├── Unavailable       503  somebody else, whom this needs, does not answer
├── OperatorError          the configuration or the machine; the operator mends it
└── RunnerError            a build host let a job down (in worker.errors)
"""

from collections.abc import Iterable
from typing import NamedTuple


class BuildsError(Exception):
    """Anything this project raises on purpose."""


class FieldError(NamedTuple):
    """One problem of a request; `field` is None when no single field is to blame."""

    field: str | None
    reason: str


class BadInput(BuildsError):
    """The request cannot be honoured as written; nothing was changed."""

    def __init__(self, errors: Iterable[FieldError]):
        self.errors = tuple(errors)
        super().__init__(
            "; ".join(f"{field}: {reason}" if field else reason for field, reason in self.errors)
        )


class Unauthorized(BuildsError):
    """The caller did not prove who they are."""


class Forbidden(BuildsError):
    """The caller is known and may not do this."""


class NotFound(BuildsError):
    """No such thing, or none that this caller may know of."""


class Conflict(BuildsError):
    """The thing is not, or no longer, in the state that the request assumes."""


class Gone(BuildsError):
    """It was here, and was removed on purpose."""


class TooMany(BuildsError):
    """More attempts than anybody may make in a time; `seconds` says when there are new ones."""

    def __init__(self, reason: str, seconds: int):
        super().__init__(reason)
        self.seconds = seconds


class Unavailable(BuildsError):
    """Somebody else, whom this needs, does not answer as agreed."""


class OperatorError(BuildsError):
    """The configuration or the machine is not as it must be."""
