"""Whether this service can do its work right now: ok, degraded or failing, and every reason.

`looking` asks whatever a job needs, and waits for no answer longer than two seconds in all;
`judging` turns what was seen into a verdict and touches nothing. Neither names a host, a user or a
job: anybody may ask. `hosts` judges one build host, for those who administer it.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    OK = "ok"
    # Jobs are run, but not all of them, or not all that belongs to it is done.
    DEGRADED = "degraded"
    # Nobody is served, or no job is run.
    FAILING = "failing"


WORST = (Verdict.FAILING, Verdict.DEGRADED)


class Reason(NamedTuple):
    verdict: Verdict
    code: str
    text: str


class Health(NamedTuple):
    verdict: Verdict
    reasons: tuple[Reason, ...]


def health_of(reasons: Iterable[Reason]) -> Health:
    """The worst reason decides."""
    found = tuple(reasons)
    verdicts = {reason.verdict for reason in found}
    return Health(next((each for each in WORST if each in verdicts), Verdict.OK), found)
