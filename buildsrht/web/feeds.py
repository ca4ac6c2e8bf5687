"""How public jobs ended, for programs that ask now and then: RSS 2.0 for readers of news, and
cc.xml for lamps and trays (the format of CruiseControl, which CCMenu and its like read).

As with badges it makes no difference who asks. A user who is not there is 404, as on their page;
one without public jobs has an empty feed.
"""

from collections.abc import Sequence
from datetime import UTC
from email.utils import format_datetime
from html import escape
from xml.etree.ElementTree import Element

from flask import Blueprint, Response

from buildsrht import urls
from buildsrht.models import Job, JobStatus
from buildsrht.services import published
from buildsrht.services.published import Project
from buildsrht.services.users import require_user
from buildsrht.serving import current_backend
from buildsrht.web import xml
from buildsrht.web.xml import element

routes = Blueprint("feeds", __name__)

ITEMS = 50
RSS = "application/rss+xml"
TRAY = "application/xml"
TRAY_WORDS = {
    JobStatus.SUCCESS: "Success",
    JobStatus.FAILED: "Failure",
    JobStatus.TIMEOUT: "Exception",
}


@routes.get("/~<owner>/rss.xml", defaults={"tags": ""})
@routes.get("/~<owner>/<path:tags>/rss.xml")
def rss(owner: str, tags: str) -> Response:
    path = tags.split("/") if tags else []
    with current_backend().transaction() as session:
        user = require_user(session, owner)
        jobs = published.newest(session, user, path, ITEMS)
    return xml.respond(_news(owner, path, jobs), RSS)


@routes.get("/~<owner>/cc.xml", defaults={"tags": ""})
@routes.get("/~<owner>/<path:tags>/cc.xml")
def tray(owner: str, tags: str) -> Response:
    path = tags.split("/") if tags else []
    with current_backend().transaction() as session:
        user = require_user(session, owner)
        projects = published.projects(session, user, path)
    return xml.respond(element("Projects", *(_project(owner, each) for each in projects)), TRAY)


# --- RSS --------------------------------------------------------------------------------------


def _news(owner: str, path: Sequence[str], jobs: Sequence[Job]) -> Element:
    page = urls.jobs_page(_origin(), owner, path)
    name = _name(owner, path)
    itself = element("atom:link", href=f"{page}/rss.xml", rel="self", type=RSS)
    channel = element(
        "channel",
        element("title", f"Jobs of {name}"),
        element("link", page),
        element("description", f"How the public jobs of {name} ended, newest first"),
        itself,
        *map(_item, jobs),
    )
    return element("rss", channel, version="2.0", xmlns__atom="http://www.w3.org/2005/Atom")


def _item(job: Job) -> Element:
    assert job.finished, "only what is over is published"
    page = urls.job_page(_origin(), job.owner.name, job.id)
    title = [f"#{job.id}", *filter(None, ["/".join(job.tags)]), job.status]
    return element(
        "item",
        element("title", " · ".join(title)),
        element("link", page),
        element("guid", page, isPermaLink="true"),
        element("pubDate", format_datetime(job.finished.astimezone(UTC), usegmt=True)),
        *(element("category", tag) for tag in job.tags),
        # Readers take this for HTML. A note is text here, with its markup as it was written.
        element("description", escape(job.note or "")),
    )


# --- cc.xml -----------------------------------------------------------------------------------


def _project(owner: str, project: Project) -> Element:
    return element(
        "Project",
        name=_name(owner, project.tags),
        activity="Building" if project.is_running else "Sleeping",
        lastBuildStatus=TRAY_WORDS[project.status],
        lastBuildLabel=project.job_id,
        lastBuildTime=project.finished.isoformat(timespec="seconds"),
        webUrl=urls.jobs_page(_origin(), owner, project.tags),
    )


def _name(owner: str, tags: Sequence[str]) -> str:
    return "/".join([f"~{owner}", *tags])


def _origin() -> str:
    return current_backend().config.web.origin
