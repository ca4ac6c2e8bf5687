"""What a person reads: ratios first, then every figure with its spread, what must be shown and
whether it was.

Pure: figures in, text out. Judges nothing but the limits below.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.figures import RATIOS, Figures, Summary


@dataclass(frozen=True)
class Target:
    """A limit, which the figure must not exceed, or with `at_least` must reach."""

    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {number(self.limit)}"


TARGETS = {
    "first_byte_vs_clone": Target(4),
    "first_byte_vs_cold_boot": Target(1 / 25),
    "answer_among_streams_vs_alone": Target(10),
    "layer_hit_speedup": Target(50, at_least=True),
    "jobs_per_minute": Target(60, at_least=True),
    "submissions_per_second": Target(200, at_least=True),
    "line_to_reader_p95": Target(0.1),
    "line_to_pixels_p95": Target(0.5),
    "per_extra_vm": Target(60),
}

LEGEND = {
    "submit_to_first_byte": "POST of one echo to an idle service, until its task's log has a byte",
    "submit_to_first_byte_without_spare": "... with no machine waiting ready: spares = 0",
    "submit_to_finished": "as submit_to_first_byte, until the API says that it succeeded",
    "clone_first_command": "the lower of the next two: the limit beside submit_to_first_byte",
    "clone_as_jobs_get_it": "a machine from the snapshot, isolated; `true` as root has answered",
    "clone_barest": "QEMU on the snapshot and nothing else; `true` as root has answered",
    "cold_boot_ssh": "the same image, cold; ssh asked once a second, a call per step; first byte",
    "cold_boot_until_ssh_answers": "... until ssh has answered",
    "log_20mb": "a log of 20 MB, from its first byte to its last at a reader",
    "layer_install": "apt at work for gcc, libc6-dev and make, in the job that makes the layer",
    "layer_install_as_logged": "what the logs of later jobs say of it, saving included",
    "layer_hit": "POST of a later job with these packages, until its log has a byte; no spares",
    "line_to_reader": "a line, from being printed by a task to being read by a client",
    "line_to_reader_p95": "... of 95 lines in 100, at most",
    "line_to_pixels": "a line, from being printed by a task to being painted by a browser",
    "line_to_pixels_p95": "... of 95 lines in 100, at most",
    "answer_alone": "a job, asked for by its owner from a service that does nothing else",
    "answer_among_streams": "... while each stream of events is taken, after a rush of readers",
    "sixteen_at_once": "16 jobs and 16 workers, from the first submit to the last success",
    "two_hundred_in_a_row": "200 jobs, one after the other",
    "jobs_per_minute": "two workers; from the first submit to the last success",
    "artifact_mb_per_second": "a file of 256 MiB, from a machine to its host",
    "submissions_per_second": "accepted by the API while 2,000 jobs wait",
    "per_extra_vm": "what one more idle machine takes, by the kernel's Pss",
    "web_before_streams": "what the processes of the web service take, shared pages more than once",
    "web_among_streams": "... while each stream of events is taken, after a rush of readers",
    "per_extra_vm_by_available": "... by the kernel's MemAvailable, which sees all of the host",
}

HEADINGS = ("", "median", "min", "max", "n", "must be", "")


def render(figures: Figures, host: Mapping[str, Any]) -> str:
    rows = [HEADINGS, *_rows(figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [_line(row, widths) for row in rows]
    facts = ", ".join(f"{name} {value}" for name, value in host.items())
    return "\n".join([*lines, "", *_legend(figures), "", facts])


def _rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    for name, ratio in figures.ratios.items():
        yield (name, number(ratio), "", "", "", *_verdict(name, ratio))
    for unit, summaries in _units(figures):
        yield ("",) * len(HEADINGS)
        yield (f"{unit}:", *("",) * (len(HEADINGS) - 1))
        for name, summary in summaries.items():
            spread = [number(value) for value in (summary.median, summary.min, summary.max)]
            yield (name, *spread, str(summary.n), *_verdict(name, summary.median))


def _units(figures: Figures) -> Iterator[tuple[str, Mapping[str, Summary]]]:
    units = {"seconds": figures.seconds, "rates": figures.rates, "MB": figures.memory_mb}
    return ((unit, summaries) for unit, summaries in units.items() if summaries)


def _verdict(name: str, value: float) -> tuple[str, str]:
    target = TARGETS.get(name)
    if target is None:
        return "", ""
    return str(target), "met" if target.is_met(value) else "MISSED"


def number(value: float) -> str:
    """With three digits or more, and never in powers of ten."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.4f}"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    name, *rest = row
    numbers, verdict = rest[:-1], rest[-1]
    cells = [name.ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([*cells, verdict]).rstrip()


def _legend(figures: Figures) -> Iterator[str]:
    for name in figures.ratios:
        above, below = RATIOS[name]
        yield f"{name}: {above} / {below}, medians"
    for _, summaries in _units(figures):
        yield from (f"{name}: {LEGEND[name]}" for name in summaries)
