"""One attempt at a delivery: claim it, tell the receiver, record how that went."""

import logging

from buildsrht.backend import Backend
from buildsrht.courier import letter, mail, payload, webhook
from buildsrht.courier.letter import BadAddress
from buildsrht.errors import OperatorError
from buildsrht.graphql.answers import NoAnswer
from buildsrht.graphql.execution import tell_webhook
from buildsrht.services import triggers
from buildsrht.services.triggers import Attempt, Errand, Verdict
from buildsrht.services.webhooks import Occasion

log = logging.getLogger(__name__)


def perform(backend: Backend) -> None:
    """Attempt a delivery, if one is due that nobody else attempts. Its fate is in the database,
    never in an exception."""
    errand = triggers.claim_next(backend)
    if errand:
        triggers.settle(backend, errand.delivery, _attempt(backend, errand))


def _attempt(backend: Backend, errand: Errand) -> Attempt:
    try:
        return _tell(backend, errand)
    except BadAddress as error:
        return Attempt(Verdict.NEVER, str(error))
    except OperatorError as error:
        log.error("delivery %d: %s", errand.delivery.id, error)
        return Attempt(Verdict.AGAIN, "this server is not set up for it; its operator knows more")
    # The top of an attempt: here ends whatever nobody foresaw, RQ's own time limit included.
    except Exception:
        log.exception("delivery %d met an internal error", errand.delivery.id)
        return Attempt(Verdict.AGAIN, "an internal error of the courier; its output has more")


def _tell(backend: Backend, errand: Errand) -> Attempt:
    delivery = errand.delivery
    if delivery.trigger["action"] == "email":
        message = letter.compose(backend.config, errand)
        return mail.send(backend.config.mail, message, delivery.response_headers)
    if errand.occasion:
        return _tell_subscriber(backend, errand, errand.occasion)
    event = "job" if errand.group is None else "group"
    body = payload.body_of(backend.config, errand)
    return webhook.post(backend, delivery.trigger["url"], event, delivery.uuid, body)


def _tell_subscriber(backend: Backend, errand: Errand, occasion: Occasion) -> Attempt:
    delivery = errand.delivery
    if not occasion.scopes:
        return Attempt(
            Verdict.NEVER, "the program that made this webhook may see none of it any more"
        )
    if delivery.payload is None:
        try:
            delivery.payload = tell_webhook(backend, occasion)
        except NoAnswer as error:
            return Attempt(Verdict.AGAIN, str(error))
        if not triggers.keep_payload(backend, delivery, delivery.payload):
            return Attempt(Verdict.AGAIN, "somebody else attempts it, or nobody is to any more")
    body = delivery.payload.encode()
    url, event = delivery.trigger["url"], occasion.payload.event
    return webhook.post(backend, url, event, delivery.uuid, body)
