"""Send somebody a way back into their account.

What is in the mail opens that account, so it is written down nowhere, and told to nobody but the
mail server.
"""

import logging

from buildsrht.backend import Backend
from buildsrht.courier import letter, mail
from buildsrht.courier.letter import BadAddress
from buildsrht.errors import OperatorError
from buildsrht.services import password_resets
from buildsrht.services.triggers import Verdict

log = logging.getLogger(__name__)


def perform(backend: Backend, user_id: int) -> None:
    """Send mail, if there is such a user and an address. What goes wrong the operator reads."""
    begun = password_resets.begin(backend, user_id)
    if begun is None:
        return
    user, text = begun
    try:
        attempt = mail.send(
            backend.config.mail, letter.compose_reset(backend.config, user, text), None
        )
    except (BadAddress, OperatorError) as error:
        log.error("no mail to %s for a new password: %s", user.canonical_name, error)
        return
    if attempt.verdict != Verdict.DELIVERED:
        log.error("no mail to %s for a new password: %s", user.canonical_name, attempt.error)
