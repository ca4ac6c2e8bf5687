"""Can this service do its work right now?"""

from flask import Blueprint
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from buildsrht.serving import current_backend

routes = Blueprint("health", __name__)


@routes.get("/healthz")
def health() -> ResponseReturnValue:
    """200 when the database and Redis answer. When one does not, the error's answer is 503."""
    backend = current_backend()
    with backend.transaction() as session:
        session.execute(select(1))
    backend.redis.ping()
    return {"status": "ok"}
