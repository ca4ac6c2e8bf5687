"""The notice on top of every page. Each process looks for it once in a few seconds, and not for
each page."""

import time
from typing import NamedTuple

from flask import current_app

from buildsrht.backend import Backend
from buildsrht.services import notices
from buildsrht.serving import current_backend

SECONDS = 5
EXTENSION = "buildsrht.web.notice"


class _Known(NamedTuple):
    backend: Backend
    text: str | None
    until: float


def shown() -> str | None:
    """What pages say on top, if anything."""
    backend, now = current_backend(), time.monotonic()
    known: _Known | None = current_app.extensions.get(EXTENSION)
    if known is None or known.backend is not backend or known.until <= now:
        with backend.transaction() as session:
            found = notices.find_notice(session)
        known = _Known(backend, found.text if found else None, now + SECONDS)
        current_app.extensions[EXTENSION] = known
    return known.text
