"""`/hooks`: where forges report pushes. The signature is the proof; there is no token."""

from uuid import UUID

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from buildsrht.api import fields
from buildsrht.hooks.event import Ignored
from buildsrht.hooks.payloads import read_event
from buildsrht.hooks.signatures import verify
from buildsrht.services import hooks as hook_service
from buildsrht.serving import current_backend

routes = Blueprint("hooks", __name__, url_prefix="/hooks")


@routes.post("/<uuid:uuid>")
def receive(uuid: UUID) -> ResponseReturnValue:
    """202 for what will be built, 200 for what is not; forges take either for well received."""
    backend = current_backend()
    with backend.transaction() as session:
        hook = hook_service.require_hook(session, uuid)
    headers = {name.lower(): value for name, value in request.headers.items()}
    proof = hook_service.reveal_proof(backend, hook)
    report_id = verify(hook.forge, proof, headers, request.get_data())
    event = read_event(hook, headers, fields.json_object())
    if isinstance(event, Ignored):
        return _ignored(event.reason)
    push = hook_service.receive(backend, hook, report_id, event.as_json())
    if push is None:
        # Not 429: a forge that is refused again and again stops reporting.
        most = backend.config.limits.pushes
        return _ignored(
            f"this hook has had {most} within an hour, which is the most; send it again later"
        )
    return {"status": "accepted", "push": push.id}, 202


def _ignored(reason: str) -> ResponseReturnValue:
    return {"status": "ignored", "reason": reason}
