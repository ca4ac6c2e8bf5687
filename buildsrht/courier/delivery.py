"""One attempt at a delivery: claim it, tell the receiver, record how that went."""

import logging

from buildsrht.backend import Backend
from buildsrht.courier import letter, mail, payload, webhook
from buildsrht.courier.letter import BadAddress
from buildsrht.errors import OperatorError
from buildsrht.services import triggers
from buildsrht.services.triggers import Attempt, Errand, Verdict

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
    event = "job" if errand.group is None else "group"
    body = payload.body_of(backend.config, errand)
    return webhook.post(backend, delivery.trigger["url"], event, delivery.uuid, body)
