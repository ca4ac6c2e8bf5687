"""Somebody's webhooks: where they are told of what happens to their jobs, and what about it."""

from dataclasses import dataclass

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import BadInput, Conflict, FieldError, Unavailable
from buildsrht.events import WEBHOOK_EVENTS, webhook_event
from buildsrht.graphql.execution import NoAnswer, check_webhook_query, tell_webhook
from buildsrht.models import User, Webhook
from buildsrht.services import webhooks
from buildsrht.services.scopes import AREAS
from buildsrht.services.triggers import shown_url
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms
from buildsrht.web.shown import harmless
from buildsrht.web.words import ALLOWED

routes = Blueprint("webhooks", __name__)

EVENTS = {
    "JOB_CREATED": "a job was submitted",
    "JOB_UPDATED": "a job or a task of it is in another state, or what is said of the job changed",
}
assert EVENTS.keys() == set(WEBHOOK_EVENTS)
# What every webhook may see, and what the form offers first besides.
NEEDED = "JOBS"
USUAL = ("LOGS",)
QUERY = """\
query {
  webhook {
    uuid event date
    ... on JobEvent { job { id status url tasks { name status } } }
  }
}
"""


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in. `scopes` are what a webhook is to keep of all that they may."""

    user: User
    scopes: tuple[str, ...] = tuple(f"{area}:RO" for area in AREAS)
    client_id: int | None = None
    token_id: int | None = None


@routes.get("/webhooks")
def list_() -> ResponseReturnValue:
    return _page(browser.insist_on_user())


@routes.post("/webhooks")
def create() -> ResponseReturnValue:
    user = browser.insist_on_user()
    asked = [area for area in AREAS if area == NEEDED or area in request.form]
    try:
        made = webhooks.create_webhook(
            current_backend(),
            Person(user, tuple(f"{area}:RO" for area in asked)),
            forms.word("url"),
            [event for event in EVENTS if event in request.form],
            forms.text("query"),
            check_webhook_query,
        )
    except BadInput as bad:
        return _page(user, bad.errors), 400
    except Conflict as full:
        return _page(user, (FieldError(None, str(full)),)), 400
    browser.go(f"/webhooks/{made.id}")


@routes.get("/webhooks/<int:webhook_id>")
def show(webhook_id: int) -> ResponseReturnValue:
    """One, what it was told last, and with `?sample=` what it would be told."""
    user = browser.insist_on_user()
    with current_backend().transaction() as session:
        webhook = webhooks.require_webhook(session, Person(user), webhook_id)
        page = forms.read_page(
            lambda start, count: webhooks.list_deliveries(session, webhook_id, start, count)
        )
        told = [(row, row.event and webhook_event(row.event.kind)) for row in page.rows]
    event = request.args.get("sample")
    return render_template(
        "webhook.html",
        webhook=webhook,
        url=shown_url(webhook.url),
        page=page,
        told=told,
        events=EVENTS,
        event=event,
        sample=_sample(webhook, event) if event in EVENTS else None,
    )


@routes.post("/webhooks/<int:webhook_id>/delete")
def delete(webhook_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    webhooks.delete_webhook(current_backend(), Person(user), webhook_id)
    browser.go("/webhooks")


def _sample(webhook: Webhook, event: str) -> str:
    backend = current_backend()
    try:
        return harmless(tell_webhook(backend, webhooks.sample(backend, webhook, event)))
    except NoAnswer as away:
        raise Unavailable(str(away)) from None


def _page(user: User, problems: tuple[FieldError, ...] = ()) -> str:
    with current_backend().transaction() as session:
        page = forms.read_page(
            lambda start, count: webhooks.list_webhooks(session, Person(user), start, count)
        )
    filled = request.form if problems else {"query": QUERY, **dict.fromkeys((*EVENTS, *USUAL), "")}
    return render_template(
        "webhooks.html",
        page=page,
        shown_url=shown_url,
        problems=problems,
        filled=filled,
        events=EVENTS,
        needed=NEEDED,
        allowed={area: ALLOWED[f"{area}:RO"] for area in AREAS},
    )
