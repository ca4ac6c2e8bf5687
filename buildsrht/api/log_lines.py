"""`/query/log/<id>/.../lines`, `/commands` and `/search`: logs for those who show them.

Lines come as HTML that is safe to show, because what a terminal would make of a log is not for
every page to find out again. The log itself, byte for byte, is buildsrht.api.logs.
"""

from typing import Any, NamedTuple

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from buildsrht.api import fields
from buildsrht.api.errors import http_error
from buildsrht.errors import BadInput, FieldError
from buildsrht.logs import LogView
from buildsrht.models import Job, TaskStatus
from buildsrht.oauth import acting_user_if_any
from buildsrht.services import log_lines
from buildsrht.services.jobs import log_name, require_job
from buildsrht.serving import FOREVER, RETRY_SECONDS, current_backend

routes = Blueprint("log_lines", __name__, url_prefix="/query/log/<int:job_id>")

LINES = 2000
USUAL_LINES = 500
COMMANDS = 10_000
MATCHES = 200
WANTED_CHARACTERS = 200


class _TaskLog(NamedTuple):
    """`task` is None for the setup log."""

    task: str | None
    view: LogView


@routes.get("/lines")
def show_setup_lines(job_id: int) -> ResponseReturnValue:
    return _show(job_id, None)


@routes.get("/<task>/lines")
def show_task_lines(job_id: int, task: str) -> ResponseReturnValue:
    return _show(job_id, task)


@routes.errorhandler(FileNotFoundError)
def _is_away(_: FileNotFoundError) -> ResponseReturnValue:
    """It went out of Redis while it was read, and its build host has not put it back yet."""
    reason = "this log cannot be read right now; try again in a moment"
    return http_error(ServiceUnavailable(reason, retry_after=RETRY_SECONDS))


def _show(job_id: int, task: str | None) -> Response:
    first = fields.requested_number("from", least=-LINES, most=2**53) or 1
    count = fields.requested_number("count", least=1, most=LINES) or USUAL_LINES
    log = _view(job_id, task)
    window = log_lines.read_lines(log, first, count)
    response = jsonify(
        first=window.first,
        total=window.total,
        size=log.size,
        complete=log.sealed,
        lines=[
            {"html": line.html, "time": line.milliseconds, "command": line.is_command}
            for line in window.lines
        ],
    )
    return _for_caches(response, log)


@routes.get("/commands")
def show_setup_commands(job_id: int) -> ResponseReturnValue:
    return _show_commands(job_id, None)


@routes.get("/<task>/commands")
def show_task_commands(job_id: int, task: str) -> ResponseReturnValue:
    return _show_commands(job_id, task)


def _show_commands(job_id: int, task: str | None) -> Response:
    log = _view(job_id, task)
    found = log_lines.find_commands(log, COMMANDS + 1)
    response = jsonify(commands=found[:COMMANDS], more=len(found) > COMMANDS)
    return _for_caches(response, log)


def _for_caches(response: Response, log: LogView) -> Response:
    if not log.sealed:
        response.headers["Cache-Control"] = "no-store"
        return response
    response.headers["Cache-Control"] = FOREVER
    response.add_etag()
    response.make_conditional(request)
    return response


def _view(job_id: int, task: str | None) -> LogView:
    viewer = acting_user_if_any("logs:read")
    backend = current_backend()
    with backend.transaction() as session:
        job = require_job(session, job_id, viewer)
        return backend.logs.view(session, log_name(job, task))


@routes.get("/search")
def search(job_id: int) -> ResponseReturnValue:
    """Either a text, in all logs in their order, or the first error, in a failed task's first."""
    viewer = acting_user_if_any("logs:read")
    wanted = _wanted_text()
    backend = current_backend()
    with backend.transaction() as session:
        job = require_job(session, job_id, viewer)
        tasks = [None, *(task.name for task in job.tasks)]
        views = backend.logs.views(session, [log_name(job, task) for task in tasks])
    logs = [_TaskLog(task, view) for task, view in zip(tasks, views, strict=True)]
    found = _find_error(job, logs) if wanted is None else _find(logs, wanted)
    response = jsonify(matches=found[:MATCHES], more=len(found) > MATCHES)
    response.headers["Cache-Control"] = "no-store"
    return response


def _wanted_text() -> str | None:
    """None for errors."""
    if fields.requested_word("errors", ("1",)):
        return None
    text = request.args.get("q", "")
    if not 0 < len(text) <= WANTED_CHARACTERS or "\n" in text:
        reason = f"must be 1 to {WANTED_CHARACTERS} characters without a line end"
        raise BadInput([FieldError("q", reason)])
    return text


def _find(logs: list[_TaskLog], wanted: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for task, view in logs:
        # One more than is told says that there are more.
        hits = log_lines.find(view, wanted, MATCHES + 1 - len(found))
        found += [_match(task, hit) for hit in hits]
        if len(found) > MATCHES:
            break
    return found


def _find_error(job: Job, logs: list[_TaskLog]) -> list[dict[str, Any]]:
    failed = {task.name for task in job.tasks if task.status == TaskStatus.FAILED}
    for task, view in sorted(logs, key=lambda log: log.task not in failed):
        if hit := log_lines.find_error(view):
            return [_match(task, hit)]
    return []


def _match(task: str | None, hit: log_lines.Hit) -> dict[str, Any]:
    return {"task": task, "line": hit.number, "html": hit.html}
