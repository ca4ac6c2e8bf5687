"""Wait for a database or a storage that is away for a moment, as when its operator restarts it.

Only for what may be done twice: an answer that got lost looks like a question that did.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

from buildsrht.storage import StorageError

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1

Answer = TypeVar("Answer")


def patiently(action: Callable[[], Answer], seconds: float) -> Answer:
    """What `action` returns, tried again for as long as database or storage do not answer; after
    `seconds` its last error."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError, StorageError) as error:
            if time.monotonic() > deadline:
                raise
            log.warning("trying again in a moment: %s", error)
            time.sleep(PAUSE_SECONDS)
