"""Hooks, which forges report to: made here, changed, and what came of what was reported.

Forges post to the same address at which a hook has its page: buildsrht.api.hooks answers them.
"""

from typing import NamedTuple
from uuid import UUID

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput, Conflict, FieldError
from buildsrht.hooks.event import Event
from buildsrht.models import Forge, Hook, Push, PushStatus, User, Visibility
from buildsrht.problems import Problems
from buildsrht.services import hooks
from buildsrht.services.hooks import HookSettings, NewHook
from buildsrht.services.jobs import check_visibility
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms
from buildsrht.web.shown import harmless

routes = Blueprint("hooks", __name__)

FORGES = {
    Forge.GITHUB: "GitHub",
    Forge.GITLAB: "GitLab",
    Forge.GITEA: "Gitea or Forgejo",
    Forge.SOURCEHUT: "sourcehut",
}
# How the status of a push looks: like one of a job.
LOOKS = {
    PushStatus.WAITING: "is-queued",
    PushStatus.BUILT: "is-success",
    PushStatus.IGNORED: "is-skipped",
    PushStatus.FAILED: "is-failed",
}
COMMIT_CHARACTERS = 12


class Reported(NamedTuple):
    """A push, the refs that it moved and where to, and why it came to what it came to."""

    push: Push
    refs: list[str]
    reason: str


@routes.get("/hooks")
def list_() -> ResponseReturnValue:
    return _list_page(browser.insist_on_user())


@routes.post("/hooks")
def create() -> ResponseReturnValue:
    user = browser.insist_on_user()
    try:
        hook, proof = hooks.create_hook(current_backend(), user.name, _read_new())
    except BadInput as bad:
        return _list_page(user, bad.errors), 400
    except Conflict as full:
        return _list_page(user, (FieldError(None, str(full)),)), 400
    return _hook_page(user, hook.uuid, new=True, secret=None if _has_key(hook) else proof)


@routes.get("/hooks/<uuid:uuid>/pushes")
def show(uuid: UUID) -> ResponseReturnValue:
    return _hook_page(browser.insist_on_user(), uuid)


@routes.post("/hooks/<uuid:uuid>/change")
def change(uuid: UUID) -> ResponseReturnValue:
    user = browser.insist_on_user()
    try:
        hooks.change_hook(current_backend(), user.name, uuid, _read_settings())
    except BadInput as bad:
        return _hook_page(user, uuid, problems=bad.errors), 400
    browser.go(f"/hooks/{uuid}/pushes")


@routes.post("/hooks/<uuid:uuid>/secret")
def renew_secret(uuid: UUID) -> ResponseReturnValue:
    user = browser.insist_on_user()
    _, secret = hooks.renew_secret(current_backend(), user.name, uuid)
    return _hook_page(user, uuid, secret=secret)


@routes.post("/hooks/<uuid:uuid>/delete")
def delete(uuid: UUID) -> ResponseReturnValue:
    hooks.delete_hook(current_backend(), browser.insist_on_user().name, uuid)
    browser.go("/hooks")


# --- what forms say ---------------------------------------------------------------------------


def _read_new() -> NewHook:
    problems = Problems()
    forge = problems.checked(forms.word("forge"), _check_forge)
    visibility = problems.checked(forms.word("visibility"), check_visibility)
    problems.insist()
    assert forge, "what is wrong with a forge was raised"
    assert visibility, "what is wrong with a visibility was raised"
    return NewHook(
        forge=forge,
        repository=forms.word("repository"),
        visibility=visibility,
        pull_requests="pull_requests" in request.form,
        credential=forms.word("credential") or None,
        public_key=forms.word("public_key") or None,
    )


def _read_settings() -> HookSettings:
    return HookSettings(
        visibility=check_visibility(forms.word("visibility")),
        pull_requests="pull_requests" in request.form,
        credential=forms.word("credential") or None,
        forgets_credential="forgets_credential" in request.form,
    )


def _check_forge(word: str) -> Forge:
    if word not in set(Forge):
        raise BadInput([FieldError("forge", f"must be one of {', '.join(Forge)}")])
    return Forge(word)


# --- pages ------------------------------------------------------------------------------------


def _list_page(user: User, problems: tuple[FieldError, ...] = ()) -> str:
    with current_backend().transaction() as session:
        own = hooks.list_hooks(session, user.name)
    return render_template(
        "hooks.html",
        own=own,
        forges=FORGES,
        visibilities=Visibility,
        problems=problems,
        filled=request.form if problems else {},
    )


def _hook_page(
    user: User,
    uuid: UUID,
    *,
    new: bool = False,
    secret: str | None = None,
    problems: tuple[FieldError, ...] = (),
) -> str:
    backend = current_backend()
    with backend.transaction() as session:
        hook = hooks.require_own_hook(session, user.name, uuid)
        page = forms.read_page(
            lambda start, count: hooks.list_pushes(session, user.name, uuid, start, count)
        )
    return render_template(
        "hook.html",
        hook=hook,
        address=hooks.hook_url(backend, hook),
        forge=FORGES[hook.forge],
        has_key=_has_key(hook),
        new=new,
        secret=secret,
        page=page,
        reported=[_reported(push) for push in page.rows],
        looks=LOOKS,
        visibilities=Visibility,
        problems=problems,
        filled=request.form if problems else _as_it_is(hook),
    )


def _as_it_is(hook: Hook) -> dict[str, str]:
    boxes = {"pull_requests": "on"} if hook.pull_requests else {}
    return {"visibility": hook.visibility, **boxes}


def _has_key(hook: Hook) -> bool:
    """Whether the forge has one key for all of its hooks, in place of a secret for each."""
    return hook.forge == Forge.SOURCEHUT


def _reported(push: Push) -> Reported:
    updates = Event.from_json(push.event).updates
    refs = [harmless(f"{each.ref}@{each.object[:COMMIT_CHARACTERS]}") for each in updates]
    return Reported(push, refs, harmless(push.reason or ""))
