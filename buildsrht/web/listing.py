"""Jobs in lists: the first page, a user's, and those of a path of tags; each can be searched.

What is searched for and where a page begins is in the address, so that a list can be sent around.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.browsing import current_user
from buildsrht.errors import BadInput, FieldError, NotFound
from buildsrht.models import Job, User
from buildsrht.services import overview, search
from buildsrht.services.jobs import TAG_OF_ANY_CASE
from buildsrht.services.search import Found
from buildsrht.services.users import require_user
from buildsrht.services.waiting import reasons_of
from buildsrht.serving import current_backend

routes = Blueprint("listing", __name__)

# Few enough for a page that loads at once.
PAGE = 25
UNDER_WAY = 10
NOTHING = Found((), None)


class List(NamedTuple):
    """A page of jobs, what was asked for it, and what is wrong with that."""

    found: Found
    query: str
    before: int | None
    problems: tuple[FieldError, ...] = ()

    @property
    def status(self) -> int:
        return 400 if self.problems else 200

    @property
    def is_plain(self) -> bool:
        """Whether it is the newest of all, with nothing searched for."""
        return not self.query and self.before is None and not self.problems


@routes.get("/")
def home() -> ResponseReturnValue:
    """What this is for whoever is not signed in, and for others what they have under way."""
    viewer = current_user()
    if viewer is None:
        listed = read_list(None)
        is_open = current_backend().config.web.registration
        return list_page("welcome.html", listed, is_open=is_open)
    searched = bool(request.args.get("search", "").strip())
    listed = read_list(viewer, owner=None if searched else viewer)
    under_way: Sequence[Job] = ()
    if listed.is_plain:
        with current_backend().transaction() as session:
            under_way = overview.under_way(session, viewer, UNDER_WAY)
        listed = listed._replace(found=_without(listed.found, under_way))
    queue = overview.queue_now(current_backend())
    return list_page("home.html", listed, under_way=under_way, queue=queue)


@routes.get("/~<owner>", defaults={"tags": ""})
@routes.get("/~<owner>/<path:tags>")
def of_user(owner: str, tags: str) -> ResponseReturnValue:
    path = _read_path(tags)
    viewer = current_user()
    with current_backend().transaction() as session:
        person = require_user(session, owner)
        trend = overview.trend(session, viewer, person, path)
    listed = read_list(viewer, owner=person, tag_path=path)
    shown = trend if listed.is_plain else None
    return list_page(
        "user.html", listed, owner=person, path=path, trend=shown, slots=overview.TREND
    )


def _read_path(text: str) -> list[str]:
    path = text.split("/") if text else []
    if not all(TAG_OF_ANY_CASE.fullmatch(tag) for tag in path):
        raise NotFound(f"no job can have the tags {text!r}")
    return path


def read_list(viewer: User | None, **where: Any) -> List:
    """The page of jobs that the address asks for, among those that the viewer may find `where`."""
    query = request.args.get("search", "").strip()
    try:
        before = _read_before(request.args.get("before"))
        with current_backend().transaction() as session:
            found = search.search(
                session,
                viewer,
                query,
                before=before,
                count=PAGE,
                catalogue=current_backend().catalogue,
                **where,
            )
    except BadInput as bad:
        return List(NOTHING, query, None, bad.errors)
    return List(found, query, before)


def _read_before(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise BadInput([FieldError("before", f"must be the number of a job, not {text[:20]!r}")])
    return int(text)


def _without(found: Found, shown: Sequence[Job]) -> Found:
    ids = {job.id for job in shown}
    return found._replace(jobs=[job for job in found.jobs if job.id not in ids])


def list_page(template: str, listed: List, **more: Any) -> tuple[str, int]:
    """It, as a page."""
    jobs = [*more.get("under_way", ()), *listed.found.jobs]
    waits = reasons_of(current_backend(), jobs)
    return render_template(template, listed=listed, waits=waits, **more), listed.status
