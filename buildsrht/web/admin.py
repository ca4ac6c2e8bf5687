"""What administrators see and do. For all others there are no such pages.

Not even that somebody would have to sign in is said: that would tell which pages there are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from buildsrht.backend import Backend
from buildsrht.browsing import current_user
from buildsrht.errors import BadInput, Conflict, FieldError
from buildsrht.health.hosts import judged
from buildsrht.models import User
from buildsrht.services import administration, enrolment, notices, overview, runners
from buildsrht.services.users import require_user
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms, listing

routes = Blueprint("admin", __name__, url_prefix="/admin")

PAGE = 50


class People(NamedTuple):
    """Some accounts, by name. `next` is the name that the following page begins with."""

    rows: Sequence[User]
    next: str | None


def _insist_on_administrator() -> User:
    return administration.require_administrator(current_user())


# --- what there is ----------------------------------------------------------------------------


@routes.get("")
def show() -> ResponseReturnValue:
    _insist_on_administrator()
    queue = overview.queue_now(current_backend())
    with current_backend().transaction() as session:
        oldest = overview.oldest_waiting(session)
        hosts = runners.list_runners(session)
    return render_template("admin.html", queue=queue, oldest=oldest, hosts=hosts)


@routes.get("/jobs")
def list_jobs() -> ResponseReturnValue:
    return listing.list_page("admin_jobs.html", listing.read_list(_insist_on_administrator()))


@routes.get("/hosts")
def list_hosts() -> ResponseReturnValue:
    _insist_on_administrator()
    return _hosts_page()


@routes.post("/hosts/<name>/drain")
def drain(name: str) -> ResponseReturnValue:
    return _move_host(enrolment.drain, name)


@routes.post("/hosts/<name>/resume")
def resume(name: str) -> ResponseReturnValue:
    return _move_host(enrolment.resume, name)


@routes.post("/hosts/<name>/retire")
def retire(name: str) -> ResponseReturnValue:
    return _move_host(enrolment.retire, name)


@routes.post("/hosts/prune")
def prune() -> ResponseReturnValue:
    enrolment.prune(current_backend(), _insist_on_administrator())
    browser.go("/admin/hosts")


def _move_host(deed: Callable[[Backend, User, str], None], name: str) -> ResponseReturnValue:
    author = _insist_on_administrator()
    try:
        deed(current_backend(), author, name)
    except Conflict as refused:
        return _hosts_page(str(refused)), 409
    browser.go("/admin/hosts")


def _hosts_page(refused: str = "") -> str:
    with current_backend().transaction() as session:
        hosts = judged(session)
    return render_template("admin_hosts.html", hosts=hosts, refused=refused)


# --- accounts ---------------------------------------------------------------------------------


@routes.get("/users")
def list_users() -> ResponseReturnValue:
    _insist_on_administrator()
    text, start = forms.linked("search").strip(), forms.linked("from")
    with current_backend().transaction() as session:
        found = administration.find_people(session, text, start or None, PAGE + 1)
    people = People(found[:PAGE], found[PAGE].name if len(found) > PAGE else None)
    return render_template("admin_users.html", page=people, text=text)


@routes.get("/users/<owner>")
def show_user(owner: str) -> ResponseReturnValue:
    _insist_on_administrator()
    return _user_page(owner)


@routes.post("/users/<owner>/appoint")
def appoint(owner: str) -> ResponseReturnValue:
    administration.appoint(current_backend(), _insist_on_administrator(), owner)
    browser.go(f"/admin/users/{owner}")


@routes.post("/users/<owner>/dismiss")
def dismiss(owner: str) -> ResponseReturnValue:
    return _take_away(administration.dismiss, owner)


@routes.post("/users/<owner>/suspend")
def suspend(owner: str) -> ResponseReturnValue:
    return _take_away(administration.suspend, owner)


def _take_away(deed: Callable[[Backend, User, str], None], owner: str) -> ResponseReturnValue:
    author = _insist_on_administrator()
    try:
        deed(current_backend(), author, owner)
    except Conflict as refused:
        return _user_page(owner, str(refused)), 400
    # Who has done it to themselves has nothing to see here any more.
    browser.go("/" if owner == author.name else f"/admin/users/{owner}")


@routes.post("/users/<owner>/restore")
def restore(owner: str) -> ResponseReturnValue:
    administration.restore(current_backend(), _insist_on_administrator(), owner)
    browser.go(f"/admin/users/{owner}")


@routes.post("/users/<owner>/sign-out")
def sign_out(owner: str) -> ResponseReturnValue:
    administration.sign_out(current_backend(), _insist_on_administrator(), owner)
    browser.go(f"/admin/users/{owner}")


def _user_page(name: str, refused: str = "") -> str:
    with current_backend().transaction() as session:
        person = require_user(session, name)
    return render_template("admin_user.html", person=person, refused=refused)


# --- the notice -------------------------------------------------------------------------------


@routes.get("/notice")
def show_notice() -> ResponseReturnValue:
    _insist_on_administrator()
    return _notice_page()


@routes.post("/notice")
def set_notice() -> ResponseReturnValue:
    author, text = _insist_on_administrator(), forms.text("text")
    before = forms.number(forms.text("before"))
    try:
        notices.set_notice(current_backend(), author, text, before)
    except BadInput as bad:
        return _notice_page(bad.errors, text), 400
    except Conflict as refused:
        return _notice_page((FieldError(None, str(refused)),), text), 409
    browser.go("/admin/notice")


@routes.post("/notice/end")
def end_notice() -> ResponseReturnValue:
    author, seen = _insist_on_administrator(), forms.number(forms.text("before"))
    try:
        notices.end_notice(current_backend(), author, seen or 0)
    except Conflict as refused:
        return _notice_page((FieldError(None, str(refused)),)), 409
    browser.go("/admin/notice")


def _notice_page(problems: tuple[FieldError, ...] = (), typed: str | None = None) -> str:
    with current_backend().transaction() as session:
        shown = notices.find_notice(session)
    text = typed if typed is not None else shown.text if shown else ""
    return render_template(
        "admin_notice.html",
        shown=shown,
        text=text,
        problems=problems,
        characters=notices.CHARACTERS,
    )
