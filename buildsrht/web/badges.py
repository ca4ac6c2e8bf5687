"""Statuses as pictures: badges for other people's pages, and the sign of a job in its tab.

A badge tells of public jobs only and does not look at who asks, so that whoever passes it on, as
forges do with all pictures, passes on nothing of anybody's. Of a user who is not there it says what
it says of one without public jobs. It is 200 then, too: where a picture is refused, pages show a
broken one.
"""

import unicodedata

from flask import Blueprint, Response, request

from buildsrht.browsing import current_user
from buildsrht.errors import NotFound
from buildsrht.services import published
from buildsrht.services.jobs import require_job
from buildsrht.serving import current_backend
from buildsrht.web import drawing, xml

routes = Blueprint("badges", __name__)

SVG = "image/svg+xml"
LABEL, LABEL_CHARACTERS = "builds", 60
# Categories of Unicode that leave no mark on paper, or turn around what comes after them.
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@routes.get("/~<owner>.svg", defaults={"tags": ""})
@routes.get("/~<owner>/<path:tags>.svg")
def badge(owner: str, tags: str) -> Response:
    path = tags.split("/") if tags else []
    with current_backend().transaction() as session:
        status = published.outcome(session, owner, path)
    drawn = drawing.badge(_label(request.args.get("name", "")), status or "unknown")
    response = xml.respond(drawn, SVG)
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _label(asked: str) -> str:
    seen = "".join(each for each in asked if unicodedata.category(each) not in UNSEEN).strip()
    return seen[:LABEL_CHARACTERS] or LABEL


@routes.get("/~<owner>/job/<int:job_id>/icon.svg")
def icon(owner: str, job_id: int) -> Response:
    """What a tab shows of a job, to whom the job is shown."""
    viewer = current_user()
    with current_backend().transaction() as session:
        job = require_job(session, job_id, viewer)
    if job.owner.name != owner:
        raise NotFound(f"there is no job {job_id}")
    response = xml.respond(drawing.icon(job.status), SVG)
    # The next look may find another status, or somebody who may not look.
    response.headers["Cache-Control"] = "private, no-cache"
    return response
