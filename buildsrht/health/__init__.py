"""Whether this service can do its work right now: ok, degraded or failing, and every reason.

`looking` asks whatever a job needs, and waits for no answer longer than two seconds in all;
`judging` turns what was seen into a verdict and touches nothing. Neither names a host, a user or a
job: anybody may ask.
"""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    OK = "ok"
    # Jobs are run, but not all of them, or not all that belongs to it is done.
    DEGRADED = "degraded"
    # Nobody is served, or no job is run.
    FAILING = "failing"


class Reason(NamedTuple):
    verdict: Verdict
    code: str
    text: str


class Health(NamedTuple):
    """The worst reason decides."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
