"""`/api/job-group`: jobs that are started, cancelled and reported together."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from buildsrht.api import fields, render
from buildsrht.models import User
from buildsrht.oauth import acting_user
from buildsrht.services import groups as group_service
from buildsrht.services.jobs import check_note
from buildsrht.serving import current_backend

routes = Blueprint("groups", __name__, url_prefix="/api/job-group")


@routes.post("")
def create() -> ResponseReturnValue:
    owner = acting_user("jobs:write")
    body = fields.Fields(fields.json_object())
    request = {
        "job_ids": body.required("jobs", fields.list_of(fields.integer)),
        "note": body.optional("note", fields.text, check_note),
        "triggers": body.optional("triggers", fields.anything, group_service.check_triggers, ()),
        "execute": body.optional("execute", fields.boolean, default=True),
    }
    body.insist()
    group = group_service.create_group(current_backend(), owner, **request)
    return _shown(group.id, owner)


@routes.get("/<int:group_id>")
def show(group_id: int) -> ResponseReturnValue:
    return _shown(group_id, acting_user("jobs:read"))


def _shown(group_id: int, viewer: User) -> ResponseReturnValue:
    backend = current_backend()
    with backend.transaction() as session:
        group, jobs = group_service.require_group(session, group_id, viewer)
    shown = render.group(backend.config, group, jobs)
    # Addresses of people, and of webhooks, which may have a password in them.
    return shown if viewer.id == group.owner_id else {**shown, "triggers": []}


@routes.post("/<int:group_id>/start")
def start(group_id: int) -> ResponseReturnValue:
    group_service.start_group(current_backend(), group_id, acting_user("jobs:write"))
    return {}


@routes.post("/<int:group_id>/cancel")
def cancel(group_id: int) -> ResponseReturnValue:
    group_service.cancel_group(current_backend(), group_id, acting_user("jobs:write"))
    return {}
