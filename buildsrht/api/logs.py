"""`/query/log`: logs as plain text, while they grow and ever after."""

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from buildsrht.api import ranges
from buildsrht.oauth import acting_user_if_any
from buildsrht.services.jobs import log_name, require_job
from buildsrht.serving import FOREVER, current_backend

routes = Blueprint("logs", __name__, url_prefix="/query/log/<int:job_id>")


@routes.get("/log")
def show_setup_log(job_id: int) -> ResponseReturnValue:
    return _show(job_id, None)


@routes.get("/<task>/log")
def show_task_log(job_id: int, task: str) -> ResponseReturnValue:
    return _show(job_id, task)


def _show(job_id: int, task: str | None) -> Response:
    """X-Log-Complete tells followers of a log when it has come to its end."""
    viewer = acting_user_if_any("logs:read")
    backend = current_backend()
    with backend.transaction() as session:
        job = require_job(session, job_id, viewer)
        log = backend.logs.view(session, log_name(job, task))
    if log.removed:
        # Also for those who ask for no byte of it.
        log.read(0, log.size)
    # Logs are sealed before their job is over: what is not sealed then was never written.
    may_grow = not (log.sealed or job.status.is_final)
    response = ranges.respond(log.read, log.size, log.sha256, may_grow=may_grow)
    response.content_type = "text/plain; charset=utf-8"
    response.headers["Cache-Control"] = FOREVER if log.sealed else "no-store"
    response.headers["X-Log-Complete"] = "true" if log.sealed else "false"
    return response
