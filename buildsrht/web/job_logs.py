"""What the page of a job shows of its logs before a script shows the rest: the last lines of each,
as far as a page that is loaded fast has room, or as many as are asked for by a link.

`task-NAME` is what a task's log is known by on the page, as in the addresses of the original
service, and `setup` the setup log; `task-NAME-L10` is its tenth line. No task has capital letters.
"""

from datetime import datetime
from typing import NamedTuple

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, FieldError
from buildsrht.logs import LogView
from buildsrht.models import Job, JobStatus, Task, TaskStatus
from buildsrht.services import log_lines
from buildsrht.services.jobs import log_name
from buildsrht.services.log_lines import Window

# Of one log by itself, of the end of one that failed, and on a page that is asked for by a link.
LINES, LAST_LINES, LINES_OF_A_PAGE = 200, 30, 500
# What HTML all of this may have, and of that the end of one that failed: a page is to load fast.
ROOM, ROOM_FOR_THE_END = 4_500, 2_000
LONG = 60
# What a row has besides its line, and what one has that is no place to link to.
ROW, PLAIN_ROW = 90, 45
NOTHING = Window(1, 0, [])


class Wanted(NamedTuple):
    """What a link asks for: a task's log or the setup log, from this line on or its last lines."""

    task: str | None
    first: int | None


class JobLog(NamedTuple):
    """A log on the page. Without a task it is the setup log."""

    task: Task | None
    window: Window
    removed: datetime | None = None

    @property
    def anchor(self) -> str:
        return f"task-{self.task.name}" if self.task else "setup"

    @property
    def is_long(self) -> bool:
        """Whether its box is as high as boxes get, also before all of it is there."""
        return self.window.total >= LONG

    @property
    def next(self) -> int:
        """The line after those that are shown."""
        return self.window.first + len(self.window.lines)


def read(backend: Backend, job: Job, wanted: Wanted | None) -> tuple[list[JobLog], JobLog | None]:
    """Every log of a job, in their order, and the end of the one that failed. What is most likely
    to be looked for has the first choice of the room."""
    found: dict[int | None, JobLog] = {}
    end = None
    room = ROOM
    has_failed = job.status in (JobStatus.FAILED, JobStatus.TIMEOUT)
    failed = next((task for task in job.tasks if task.status == TaskStatus.FAILED), None)
    tasks = _by_interest(job, wanted)
    with backend.transaction() as session:
        names = [log_name(job, task.name if task else None) for task in tasks]
        views = backend.logs.views(session, names)
    for task, view in zip(tasks, views, strict=True):
        # Of a job that failed before its tasks did, the setup log says why.
        if has_failed and task is failed:
            window = _last_lines(view, LAST_LINES, ROOM_FOR_THE_END, PLAIN_ROW)
            end = JobLog(task, window) if window.lines else None
            room -= ROOM_FOR_THE_END
        if wanted and wanted.task == (task.name if task else None):
            window = _asked_for(view, wanted.first)
        else:
            # Whoever comes later finds some room too.
            window = _last_lines(view, LINES, room * 4 // 5, ROW)
            room -= sum(ROW + len(line.html) for line in window.lines)
        found[task.id if task else None] = JobLog(task, window, view.removed)
    return [found[None], *(found[task.id] for task in job.tasks)], end


def name_all(job: Job) -> list[JobLog]:
    """The logs without what is in them."""
    return [JobLog(task, NOTHING) for task in (None, *job.tasks)]


def check_line(text: str) -> int | None:
    """The number of a line from a link; None for the last ones."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 16):
        raise BadInput([FieldError("from", f"must be the number of a line, not {text[:20]!r}")])
    return max(1, int(text))


def _by_interest(job: Job, wanted: Wanted | None) -> list[Task | None]:
    """What is asked for; what failed; what goes on; what was done last; and the others."""
    ranks = {TaskStatus.FAILED: 1, TaskStatus.RUNNING: 2, TaskStatus.SUCCESS: 3}

    def rank(task: Task | None) -> tuple[int, int]:
        if wanted and wanted.task == (task.name if task else None):
            return 0, 0
        return (ranks.get(task.status, 5), -task.position) if task else (4, 0)

    return sorted((None, *job.tasks), key=rank)


def _asked_for(view: LogView, first: int | None) -> Window:
    return _read(view, first or -LINES_OF_A_PAGE, LINES_OF_A_PAGE)


def _last_lines(view: LogView, count: int, room: int, row: int) -> Window:
    """As many of the last lines as there is room for, and one in any case; `row` is what each takes
    beside what is in it."""
    if room < row or not view.size:
        return NOTHING
    window = _read(view, -count, count)
    left, kept = room, 0
    for line in reversed(window.lines):
        left -= row + len(line.html)
        if left < 0 and kept:
            break
        kept += 1
    lines = window.lines[len(window.lines) - kept :]
    return Window(window.total - kept + 1, window.total, lines)


def _read(view: LogView, first: int, count: int) -> Window:
    if view.removed:
        return NOTHING
    try:
        return log_lines.read_lines(view, first, count)
    except FileNotFoundError:
        # It went out of Redis, and its build host has not put it back yet.
        return NOTHING
