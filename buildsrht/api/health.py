"""Can this service do its work right now?"""

from flask import Blueprint, Flask, current_app
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from buildsrht.health import Verdict
from buildsrht.health.judging import judge
from buildsrht.health.looking import Look
from buildsrht.serving import current_backend

routes = Blueprint("health", __name__)
EXTENSION = "buildsrht.health"


@routes.get("/healthz")
def ready() -> ResponseReturnValue:
    """200 when the database and Redis answer. When one does not, the error's answer is 503."""
    backend = current_backend()
    with backend.transaction() as session:
        session.execute(select(1))
    backend.redis.ping()
    return {"status": "ok"}


@routes.get("/health")
def health() -> ResponseReturnValue:
    """How the whole service is, and why; 503 when it is failing."""
    found = judge(_look(current_app)())
    reasons = [{"code": reason.code, "text": reason.text} for reason in found.reasons]
    status = 503 if found.verdict == Verdict.FAILING else 200
    return {"status": found.verdict, "reasons": reasons}, status, {"Cache-Control": "no-store"}


def _look(app: Flask) -> Look:
    backend = current_backend()
    # Made by whoever asks first: threads do not survive the fork of the server.
    if app.extensions.get(EXTENSION, (None, None))[0] is not backend:
        app.extensions[EXTENSION] = (backend, Look(backend))
    look: Look = app.extensions[EXTENSION][1]
    return look
