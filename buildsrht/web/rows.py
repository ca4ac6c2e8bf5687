"""What lists and pages show of a job, in words and as a picture: filters for templates.

Pure, and of no template's business what a job is: all that is asked is in its row.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from flask import Blueprint
from markdown_it import MarkdownIt
from markdown_it.token import Token

from buildsrht.models import Job, JobStatus
from buildsrht.services.overview import Ended, Trend
from buildsrht.web.shown import harmless

NOTE_CHARACTERS = 160
# A first line begins with less, or is no line.
NOTE_LOOK = 1000
MINUTE, HOUR, DAY = 60, 3600, 86400
KIB = 1024

MARKDOWN = MarkdownIt("commonmark", {"html": False})


def install(pages: Blueprint) -> None:
    pages.add_app_template_filter(harmless)
    pages.add_app_template_filter(first_line)
    pages.add_app_template_filter(duration)
    pages.add_app_template_filter(ago)
    pages.add_app_template_filter(at)
    pages.add_app_template_filter(took)
    pages.add_app_template_filter(size)
    pages.add_app_template_filter(bars)


# --- words ------------------------------------------------------------------------------------


def first_line(note: str | None) -> str:
    """The first line of a note, which is Markdown, as plain text."""
    for token in MARKDOWN.parse(harmless((note or "")[:NOTE_LOOK])):
        if token.type in ("inline", "fence", "code_block"):
            line = _line(token.children) if token.children else token.content.strip().split("\n")[0]
            return line if len(line) <= NOTE_CHARACTERS else f"{line[:NOTE_CHARACTERS]}…"
    return ""


def _line(parts: Sequence[Token]) -> str:
    said = []
    for child in parts:
        if child.type in ("softbreak", "hardbreak"):
            break
        said.append(child.content)
    return "".join(said).strip()


def duration(seconds: float | None) -> str:
    """In two units at most: 12 s, 3 min 4 s, 5 h 6 min, 7 d 8 h."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return _two(whole, MINUTE, "min", 1, "s")
    if whole < DAY:
        return _two(whole, HOUR, "h", MINUTE, "min")
    return _two(whole, DAY, "d", HOUR, "h")


def _two(whole: int, large: int, large_word: str, small: int, small_word: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {large_word}" + (f" {rest} {small_word}" if rest else "")


def ago(time: datetime, now: datetime | None = None) -> str:
    """Of the last day how long ago it was, of others the day."""
    past = ((now or datetime.now(UTC)) - time).total_seconds()
    if past >= DAY:
        return f"{time:%Y-%m-%d}"
    if past < MINUTE:
        return "just now"
    if past < HOUR:
        return f"{int(past // MINUTE)} min ago"
    return f"{int(past // HOUR)} h ago"


def at(seconds: float) -> datetime:
    """A time that is told in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def took(job: Job) -> str:
    """How long a job ran, or has run; nothing of one that never did."""
    if job.started is None:
        return ""
    return duration(((job.finished or datetime.now(UTC)) - job.started) / timedelta(seconds=1))


def size(count: int) -> str:
    """So many bytes, in a unit that makes it a short number."""
    if count < KIB:
        return f"{count} bytes"
    if count < KIB**2:
        return f"{count / KIB:.1f} KiB"
    return f"{count / KIB**2:.1f} MiB" if count < KIB**3 else f"{count / KIB**3:.1f} GiB"


# --- a picture --------------------------------------------------------------------------------

HEIGHT, STEP, WIDTH = 64, 10, 7
LEAST = 6
# What is on top of a bar, so that its colour is not needed: flat, a point, a T, a line.
SHAPES = {
    JobStatus.SUCCESS: "M{x} {bottom}V{top}h7V{bottom}z",
    JobStatus.FAILED: "M{x} {bottom}V{top}l3.5-5 3.5 5V{bottom}z",
    JobStatus.TIMEOUT: "M{x} {top}v-4h7v4h-2V{bottom}h-3V{top}z",
    JobStatus.CANCELLED: "M{x} {bottom}m2.5 0V{top}h2V{bottom}z",
}


class Bar(NamedTuple):
    job_id: int
    status: JobStatus
    words: str
    path: str


def bars(trend: Trend, slots: int) -> Iterator[Bar]:
    """A bar for each job, as high as it took long, the newest at the right end of so many slots."""
    longest = max((job.seconds or 0 for job in trend.jobs), default=0)
    for slot, job in enumerate(trend.jobs, slots - len(trend.jobs)):
        yield Bar(job.id, job.status, _words(job), _path(job, slot * STEP, longest))


def _words(job: Ended) -> str:
    ran = duration(job.seconds)
    return f"#{job.id}: {job.status}, {ran}" if ran else f"#{job.id}: {job.status}"


def _path(job: Ended, x: int, longest: float) -> str:
    share = (job.seconds or 0) / longest if longest else 0
    # Room for what is on top.
    high = LEAST + round(share * (HEIGHT - LEAST - 6))
    return SHAPES[job.status].format(x=x + 1, bottom=HEIGHT, top=HEIGHT - high)
