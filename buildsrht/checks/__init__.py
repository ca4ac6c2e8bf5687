"""Whether what the configuration names is there and works: one finding for each thing.

`looking` tries everything and says what it met, as plain facts; `judging` turns facts into findings
and touches nothing. What only a build host has is the worker package's, which does the same there.

Nothing is changed but a probe in storage, which is removed again; no mail is sent.
"""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    GOOD = "ok"
    DOUBTFUL = "warning"
    BAD = "problem"


class Finding(NamedTuple):
    """What was looked at, and a sentence about it; one that is not good names the remedy."""

    verdict: Verdict
    what: str
    said: str

    def __str__(self) -> str:
        return f"{self.verdict:<8} {self.what}: {self.said}"


def good(what: str, said: str) -> Finding:
    return Finding(Verdict.GOOD, what, said)


def doubtful(what: str, said: str) -> Finding:
    return Finding(Verdict.DOUBTFUL, what, said)


def bad(what: str, said: str) -> Finding:
    return Finding(Verdict.BAD, what, said)
