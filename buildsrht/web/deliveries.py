"""What was told, by triggers and webhooks: how it went, what was sent and what came back."""

import json
from typing import Any

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from buildsrht.errors import NotFound
from buildsrht.models import Delivery, DeliveryStatus
from buildsrht.services import triggers
from buildsrht.serving import current_backend
from buildsrht.web import browser, forms
from buildsrht.web.shown import harmless

routes = Blueprint("deliveries", __name__)

LAYOUT = json.JSONEncoder(ensure_ascii=False, indent=2)
# A body that would be longer than this when it is laid out stays as it is.
LAID_OUT_CHARACTERS = 1024 * 1024


@routes.get("/deliveries")
def list_() -> ResponseReturnValue:
    """All of somebody's, or with `?job=` those of one of their jobs."""
    user = browser.insist_on_user()
    job = request.args.get("job", "").strip()
    job_id = forms.number(job)
    if job and (job_id is None or job_id >= 2**31):
        raise NotFound(f"there is no job {job}")
    with current_backend().transaction() as session:
        page = forms.read_page(
            lambda start, count: triggers.list_deliveries(session, user, job_id, start, count)
        )
    receivers = [harmless(triggers.receiver_of(row)) for row in page.rows]
    return render_template(
        "deliveries.html",
        page=page,
        told=list(zip(page.rows, receivers, strict=True)),
        job_id=job_id,
    )


@routes.get("/deliveries/<int:delivery_id>")
def show(delivery_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    with current_backend().transaction() as session:
        row = triggers.require_delivery(session, delivery_id, user)
    return render_template(
        "delivery.html",
        row=row,
        receiver=harmless(triggers.receiver_of(row)),
        error=harmless(row.error or ""),
        sent=_message(row.request_headers, row.request_body or row.payload),
        answered=_message(row.response_headers, row.response_body),
        is_over=_is_over(row),
    )


@routes.post("/deliveries/<int:delivery_id>/replay")
def replay(delivery_id: int) -> ResponseReturnValue:
    user = browser.insist_on_user()
    browser.go(f"/deliveries/{triggers.replay(current_backend(), delivery_id, user)}")


def _is_over(row: Delivery) -> bool:
    return row.status != DeliveryStatus.WAITING


def _message(headers: dict[str, Any] | None, body: str | None) -> tuple[str, str]:
    """Headers and body as text. JSON is laid out, for people to read."""
    lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
    return harmless("\n".join(lines)), harmless(_laid_out(body or ""))


def _laid_out(body: str) -> str:
    try:
        document = json.loads(body)
        pieces = []
        room = LAID_OUT_CHARACTERS
        for piece in LAYOUT.iterencode(document):
            pieces.append(piece)
            room -= len(piece)
            # Of what is wide and deep that would be a page of spaces.
            if room < 0:
                return body
    # What is nested deeper than Python goes stays as it is.
    except (ValueError, RecursionError):
        return body
    return "".join(pieces)
