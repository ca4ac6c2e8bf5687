"""`/api/jobs`: the seven routes of the legacy API."""

from collections.abc import Sequence

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from buildsrht.api import fields, render
from buildsrht.backend import Backend
from buildsrht.errors import Forbidden
from buildsrht.models import Visibility
from buildsrht.oauth import acting_token, acting_user, acting_user_if_any
from buildsrht.services import artifacts as artifact_service
from buildsrht.services import jobs as job_service
from buildsrht.services import submitting
from buildsrht.services.jobs import Submission
from buildsrht.services.scopes import granted, may_use_secrets
from buildsrht.services.tokens import user_of
from buildsrht.serving import current_backend

routes = Blueprint("jobs", __name__, url_prefix="/api/jobs")


@routes.get("")
def list_jobs() -> ResponseReturnValue:
    owner = acting_user("jobs:read")
    backend = current_backend()
    with backend.transaction() as session:
        page = job_service.list_own_jobs(session, owner, fields.requested_start())
    results = [render.job(backend.config, job) for job in page.results]
    return render.page(results, page.next, page.total)


@routes.post("")
def submit() -> ResponseReturnValue:
    token = acting_token("jobs:write")
    backend = current_backend()
    submission = _read_submission(backend, token.scopes)
    owner = user_of(token)
    submitting.count(backend, owner)
    job = job_service.submit(backend, owner, submission)
    return render.job(backend.config, job)


def _read_submission(backend: Backend, scopes: Sequence[str]) -> Submission:
    key = request.headers.get("Idempotency-Key")
    body = fields.Fields(fields.json_object() | {"Idempotency-Key": key})
    submission = Submission(
        plan=body.required(
            "manifest",
            fields.text,
            lambda text: job_service.read_manifest(backend.catalogue, text),
        ),
        note=body.optional("note", fields.text, job_service.check_note),
        tags=body.optional("tags", fields.list_of(fields.text), job_service.check_tags, ()),
        execute=body.optional("execute", fields.boolean, default=True),
        secrets=body.optional(
            "secrets",
            fields.boolean,
            lambda wanted: wanted and _insist_on_secrets(scopes),
            default=may_use_secrets(scopes),
        ),
        visibility=body.optional(
            "visibility", fields.text, job_service.check_visibility, Visibility.UNLISTED
        ),
        idempotency_key=body.optional(
            "Idempotency-Key", fields.text, job_service.check_idempotency_key
        ),
        grantable=granted(scopes),
    )
    body.insist()
    return submission


def _insist_on_secrets(scopes: Sequence[str]) -> bool:
    if not may_use_secrets(scopes):
        raise Forbidden("secrets: a token without SECRETS:RO cannot give them to a job")
    return True


@routes.get("/<int:job_id>")
def show(job_id: int) -> ResponseReturnValue:
    viewer = acting_user("jobs:read")
    backend = current_backend()
    with backend.transaction() as session:
        job = job_service.require_job(session, job_id, viewer)
    return render.job(backend.config, job)


@routes.get("/<int:job_id>/artifacts")
def list_artifacts(job_id: int) -> ResponseReturnValue:
    """All of them: a job has so few that there is never a second page."""
    viewer = acting_user("jobs:read")
    start = fields.requested_start() or 0
    backend = current_backend()
    with backend.transaction() as session:
        kept = artifact_service.list_artifacts(session, job_id, viewer)
    results = [render.artifact(backend.config, each) for each in kept if each.id >= start]
    return render.page(results, None, len(kept))


@routes.get("/<int:job_id>/manifest")
def show_manifest(job_id: int) -> ResponseReturnValue:
    """Byte for byte what was submitted."""
    viewer = acting_user_if_any("jobs:read")
    with current_backend().transaction() as session:
        job = job_service.require_job(session, job_id, viewer)
    response = Response(job.manifest, content_type="text/plain; charset=utf-8")
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@routes.post("/<int:job_id>/start")
def start(job_id: int) -> ResponseReturnValue:
    job_service.start(current_backend(), job_id, acting_user("jobs:write"))
    return {}


@routes.post("/<int:job_id>/cancel")
def cancel(job_id: int) -> ResponseReturnValue:
    job_service.cancel(current_backend(), job_id, acting_user("jobs:write"))
    return {}
