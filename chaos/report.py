"""What a run found: how long each kind of fault took to be mended, and every broken promise."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Blow:
    """One fault, and what it cost, in seconds: how long until the last run that it hit was seen to,
    None if it hit none, and for how long at most a job waited although a slot for it was free."""

    fault: str
    victims: int
    resolved: float | None
    stood_still: float
    # Everything at once, after which nobody is left to go on.
    hits_all: bool = False


@dataclass
class Report:
    seed: int
    jobs: int
    seconds: float = 0
    blows: list[Blow] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    begun_again: int = 0
    broken: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def lines(self) -> Iterator[str]:
        yield f"seed {self.seed}: {self.jobs} jobs, {len(self.blows)} faults, {self.seconds:.0f} s"
        yield ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        yield f"{self.begun_again} were begun again by themselves"
        yield ""
        yield from table(self.blows)
        yield ""
        yield from (f"BROKEN: {problem}" for problem in self.broken)
        yield "Nothing was lost." if not self.broken else f"{len(self.broken)} promises broken."


def table(blows: Sequence[Blow]) -> Iterator[str]:
    """As Markdown."""
    yield "| fault | times | runs hit | seen to: p50 | max | queue still: p50 | max |"
    yield "|---|---|---|---|---|---|---|"
    for fault in dict.fromkeys(blow.fault for blow in blows):
        those = [blow for blow in blows if blow.fault == fault]
        resolved = _spread([blow.resolved for blow in those])
        still = _spread([blow.stood_still for blow in those])
        hit = sum(blow.victims for blow in those)
        yield f"| {fault} | {len(those)} | {hit} | {resolved} | {still} |"


def _spread(seconds: Sequence[float | None]) -> str:
    measured = [each for each in seconds if each is not None]
    if not measured:
        return "- | -"
    return f"{median(measured):.1f} s | {max(measured):.1f} s"
