"""The page of a job, and what may be done with it there: start, cancel, change, delete.

Complete without a script: static/job.js asks for the same page again when something has happened,
and puts what is new in place of what is old.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht import urls
from buildsrht.browsing import current_user
from buildsrht.errors import BadInput, Conflict, FieldError, NotFound
from buildsrht.models import Job, JobEvent, JobStatus, KeptMachine, User
from buildsrht.problems import Problems
from buildsrht.services import artifacts, deletion, history, jobs, kept, phases, pins
from buildsrht.services.jobs import may_operate, require_job, require_own_job
from buildsrht.services.phases import Phase
from buildsrht.services.waiting import reasons
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms, job_logs
from buildsrht.web.job_logs import Wanted
from buildsrht.web.markdown import render
from buildsrht.web.shown import harmless

routes = Blueprint("jobs", __name__)

PAGE = "/~<owner>/job/<int:job_id>"
# Of a longer manifest a page shows the beginning.
MANIFEST_CHARACTERS = 4000
# How wide the picture of the phases is, in units of its own, and the least that can be seen.
WIDTH, LEAST_WIDTH = 1000, 6


class Bar(NamedTuple):
    """A phase in the picture of them."""

    phase: Phase
    x: int
    width: int


class Duration(NamedTuple):
    """How long a task took, or has taken; `begun` is in Unix milliseconds."""

    begun: int
    seconds: float
    goes_on: bool


# --- the page -----------------------------------------------------------------------------------


@routes.get(PAGE)
def show(owner: str, job_id: int) -> ResponseReturnValue:
    """With `?only=state` what a script asks for again and again: all but the lines of logs."""
    viewer = current_user()
    backend = current_backend()
    with backend.transaction() as session:
        job = _require(require_job(session, job_id, viewer), owner)
        events = history.events_of(session, [job.id])[job.id]
        kept_artifacts = artifacts.artifacts_of(session, [job.id])[job.id]
    machine = kept.find_machine(backend, job.id)
    logs, end = job_logs.name_all(job), None
    wanted = _wanted(job)
    if request.args.get("only") != "state":
        logs, end = job_logs.read(backend, job, wanted)
    return render_template(
        "job.html",
        job=job,
        note=render(job.note) if job.note else None,
        operates=may_operate(viewer, job),
        waits=reasons(backend, job),
        cause=_cause(job, events),
        bars=_bars(phases.phases_of(job, events)),
        durations=_durations(job, events),
        logs=logs,
        end=end,
        wanted=wanted,
        artifacts=[(each, _download(each)) for each in kept_artifacts],
        is_gone=artifacts.is_gone,
        new_key=forms.new_key,
        manifest=harmless(job.manifest[:MANIFEST_CHARACTERS]),
        left_out=max(0, len(job.manifest) - MANIFEST_CHARACTERS),
        machine=machine,
        commands=_commands(job, viewer, machine),
        now=datetime.now(UTC),
    )


def _require(job: Job, owner: str) -> Job:
    if job.owner.name != owner:
        raise NotFound(f"there is no job {job.id}")
    return job


def _wanted(job: Job) -> Wanted | None:
    """The lines of a log that the link here asks for."""
    if not request.args.keys() & {"task", "from"}:
        return None
    task = request.args.get("task")
    jobs.log_name(job, task)
    return Wanted(task, job_logs.check_line(request.args.get("from", "")))


def _cause(job: Job, events: Sequence[JobEvent]) -> str | None:
    """Why it came into the state that it is in, where that does not go without saying."""
    causes = [event.cause for event in events if event.status == job.status and event.cause]
    is_told = job.status.is_final or _waits_again(job)
    return harmless(causes[-1]) if causes and is_told else None


def _waits_again(job: Job) -> bool:
    return job.status == JobStatus.QUEUED and job.attempt > 0


def _download(artifact: Any) -> str:
    return urls.artifact("", artifact.job_id, artifact.secret, artifact.name)


def _commands(job: Job, viewer: User | None, machine: KeptMachine | None) -> list[tuple[str, str]]:
    """What to type elsewhere, each with what it does."""
    found = [(f"buildsrht logs --follow {job.id}", "Print its logs, and go on until it is over")]
    is_there = not job.status.is_final if machine is None else machine.ended is None
    if viewer and viewer.id == job.owner_id and is_there:
        command = kept.connect_command(current_backend().config.ssh, job.id)
        found.append((command, "Get into its machine"))
    return found


def _durations(job: Job, events: Sequence[JobEvent]) -> dict[int, Duration]:
    """Of each task that has begun, by its id."""
    now = datetime.now(UTC)
    return {
        task_id: Duration(
            round(1000 * time.begun.timestamp()),
            ((time.ended or job.finished or now) - time.begun) / timedelta(seconds=1),
            not (time.ended or job.finished),
        )
        for task_id, time in phases.task_times(events).items()
    }


def _bars(found: Sequence[Phase]) -> list[Bar]:
    """Beside each other, as wide as they took long; none is too narrow to be seen."""
    whole = sum(phase.seconds for phase in found)
    free = WIDTH - LEAST_WIDTH * len(found)
    bars, x = [], 0
    for phase in found:
        width = LEAST_WIDTH + (int(free * phase.seconds / whole) if whole else 0)
        bars.append(Bar(phase, x, width))
        x += width
    return bars


# --- start and cancel ---------------------------------------------------------------------------


@routes.post("/start/<int:job_id>")
def start(job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    jobs.start(current_backend(), job_id, user)
    browser.go(_path(_own(user, job_id)))


@routes.get("/cancel/<int:job_id>")
def ask_to_cancel(job_id: int) -> ResponseReturnValue:
    """A link, as in a letter, changes nothing: it asks."""
    job = _own(browser.insist_on_user(), job_id)
    return render_template("job_cancel.html", job=job, path=_path(job))


@routes.post("/cancel/<int:job_id>")
def cancel(job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    jobs.cancel(current_backend(), job_id, user)
    browser.go(_path(_own(user, job_id)))


def _own(user: User, job_id: int) -> Job:
    with current_backend().transaction() as session:
        return require_own_job(session, job_id, user)


def _path(job: Job) -> str:
    return urls.job_page("", job.owner.name, job.id)


# --- settings -----------------------------------------------------------------------------------


@routes.get(f"{PAGE}/settings/details")
def settings(owner: str, job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    job = _require(_own(user, job_id), owner)
    return _settings(
        job,
        {"visibility": job.visibility, "tags": "/".join(job.tags), "note": job.note or ""},
    )


@routes.post(f"{PAGE}/settings/details")
def change(owner: str, job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    job = _require(_own(user, job_id), owner)
    typed = {
        "visibility": forms.word("visibility"),
        "tags": forms.word("tags"),
        "note": forms.text("note"),
    }
    try:
        _change(user, job, typed)
    except BadInput as bad:
        return _settings(job, typed, bad.errors), 400
    browser.go(_path(job))


def _change(user: User, job: Job, typed: dict[str, str]) -> None:
    """Raises BadInput with every problem."""
    problems = Problems()
    visibility = problems.checked(typed["visibility"], jobs.check_visibility)
    tags = problems.checked(
        forms.tag_path(typed["tags"]), lambda tags: jobs.check_tags(tags, any_case=True)
    )
    note = problems.checked(typed["note"], jobs.check_note)
    problems.insist()
    jobs.update_job(current_backend(), job.id, user, visibility=visibility, tags=tags, note=note)


@routes.post(f"{PAGE}/settings/keep")
def keep(owner: str, job_id: int) -> ResponseReturnValue:
    """Pin it, or with `pinned=no` no longer."""
    user = browser.insist_on_user()
    job = _require(_own(user, job_id), owner)
    change = pins.unpin if forms.word("pinned") == "no" else pins.pin
    try:
        change(current_backend(), job.id, user)
    except Conflict as refused:
        typed = {"visibility": job.visibility, "tags": "/".join(job.tags), "note": job.note or ""}
        return _settings(job, typed, (FieldError(None, str(refused)),)), 409
    browser.go(f"{_path(job)}/settings/details")


@routes.post(f"{PAGE}/settings/delete")
def delete(owner: str, job_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    job = _require(_own(user, job_id), owner)
    if forms.word("confirm").removeprefix("#") != str(job.id):
        problem = FieldError("confirm", f"type {job.id}, the number of the job")
        typed = {"visibility": job.visibility, "tags": "/".join(job.tags), "note": job.note or ""}
        return _settings(job, typed, (problem,)), 400
    deletion.delete_job(current_backend(), user, job.id)
    browser.go(urls.jobs_page("", job.owner.name))


def _settings(job: Job, filled: dict[str, str], problems: tuple[FieldError, ...] = ()) -> str:
    return render_template(
        "job_settings.html", job=job, path=_path(job), filled=filled, problems=problems
    )
