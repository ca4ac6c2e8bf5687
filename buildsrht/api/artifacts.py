"""`/artifacts`: what a job left behind, as downloads.

The bytes are a stranger's. They are sent so that no browser will take them for a page of ours.
"""

import re
from functools import partial
from urllib.parse import quote

from flask import Blueprint
from flask.typing import ResponseReturnValue

from buildsrht.api import ranges
from buildsrht.oauth import acting_user_if_any
from buildsrht.services.artifacts import require_artifact, storage_key
from buildsrht.serving import current_backend

routes = Blueprint("artifacts", __name__, url_prefix="/artifacts")


@routes.get("/<int:job_id>/<secret>/<name>")
def download(job_id: int, secret: str, name: str) -> ResponseReturnValue:
    viewer = acting_user_if_any("jobs:read")
    backend = current_backend()
    with backend.transaction() as session:
        artifact = require_artifact(session, job_id, secret, name, viewer)
    read = partial(backend.storage.read, storage_key(artifact))
    response = ranges.respond(read, artifact.size, artifact.sha256)
    response.content_type = "application/octet-stream"
    response.headers["Content-Disposition"] = _attachment(artifact.name)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    # It may expire, or be hidden: caches have to ask each time, and the ETag makes that cheap.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _attachment(name: str) -> str:
    """A download of this name (RFC 6266), whatever characters it has."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
