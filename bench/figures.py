"""What was measured: each figure with its spread, and the ratios between them.

Pure: numbers in, numbers out.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Each ratio is one median over another.
RATIOS = {
    "first_byte_vs_clone": ("submit_to_first_byte", "clone_first_command"),
    # A spare was started before anybody asked for it, a bare clone was not.
    "first_byte_without_spare_vs_clone": (
        "submit_to_first_byte_without_spare",
        "clone_first_command",
    ),
    "first_byte_vs_cold_boot": ("submit_to_first_byte", "cold_boot_ssh"),
    "answer_among_streams_vs_alone": ("answer_among_streams", "answer_alone"),
    "layer_hit_speedup": ("layer_install", "layer_hit"),
}
# More would be noise.
DIGITS = 4


@dataclass(frozen=True)
class Summary:
    """One quantity, measured `n` times."""

    median: float
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        return cls(statistics.median(values), min(values), max(values), len(values))

    def document(self) -> dict[str, float]:
        rounded = {name: _rounded(getattr(self, name)) for name in ("median", "min", "max")}
        return {**rounded, "n": self.n}


@dataclass(frozen=True)
class Figures:
    """By unit and name; `notes` is whatever else one part has to say, for results.json."""

    seconds: dict[str, Summary] = field(default_factory=dict)
    rates: dict[str, Summary] = field(default_factory=dict)
    memory_mb: dict[str, Summary] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def include(self, other: "Figures") -> None:
        self.seconds.update(other.seconds)
        self.rates.update(other.rates)
        self.memory_mb.update(other.memory_mb)
        self.notes.update(other.notes)

    @property
    def ratios(self) -> dict[str, float]:
        """Those of which both sides were measured."""
        return {
            name: self.seconds[above].median / self.seconds[below].median
            for name, (above, below) in RATIOS.items()
            if above in self.seconds and below in self.seconds
        }


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least `percent` of them do not exceed."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def document(figures: Figures, host: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of results.json."""
    return {
        "ratios": {name: _rounded(value) for name, value in figures.ratios.items()},
        "seconds": _documents(figures.seconds),
        "rates": _documents(figures.rates),
        "memory_mb": _documents(figures.memory_mb),
        **figures.notes,
        "host": dict(host),
    }


def _documents(summaries: Mapping[str, Summary]) -> dict[str, dict[str, float]]:
    return {name: summary.document() for name, summary in summaries.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
