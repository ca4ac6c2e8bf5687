"""What resolvers find in `info.context`: who asks, the Backend, and one session to read in.

Everything that a request reads comes from that session, which can change nothing. Mutations are
the services', which have transactions of their own; the session begins anew with each, so that
what a mutation returns is what it made of it.
"""

import math
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import BuildsError
from buildsrht.models import Base, User
from buildsrht.services.scopes import granted

T = TypeVar("T")

SECONDS = 3
# After which no other mutation of the same request begins.
CHANGING_SECONDS = 30
# Of all texts in one response: of logs, of manifests, of notes.
CHARACTERS = 8 * 1024 * 1024
# Rows for which something is fetched at once. Between two fetches the deadline is looked at.
TOGETHER = 100


class LimitExceeded(BuildsError):
    """The request asks for more than one request may."""


@dataclass(frozen=True)
class Asker:
    """Who asks, and what their token is good for. `client_id` is the OAuth client that has it, if
    any; `token_id` the token itself, where there is one."""

    user: User
    scopes: tuple[str, ...]
    client_id: int | None = None
    token_id: int | None = None

    @cached_property
    def grants(self) -> frozenset[str]:
        return granted(self.scopes)


class Context:
    """One request. `payload` is what `webhook` answers, if the request is a webhook's."""

    def __init__(self, backend: Backend, asker: Asker, payload: Any = None):
        self.backend = backend
        self.asker = asker
        self.payload = payload
        self._session: Session | None = None
        self._found: dict[Hashable, dict[Any, Any]] = {}
        self._characters = CHARACTERS
        self._began = time.monotonic()
        self._deadline = self._began + SECONDS

    @property
    def viewer(self) -> User:
        return self.asker.user

    @property
    def origin(self) -> str:
        """Where this service is on the web."""
        return self.backend.config.web.origin

    @property
    def session(self) -> Session:
        """The session of this request. It reads, and no statement of it outlives the deadline."""
        if self._session is None:
            self._session = Session(self.backend.engine)
        if not self._session.in_transaction():
            left = min(SECONDS, self._deadline - time.monotonic())
            milliseconds = max(1, int(1000 * left))
            self._session.connection().exec_driver_sql(
                f"SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = {milliseconds}"
            )
        return self._session

    def together(
        self,
        fetch: Callable[["Context", Collection[Any]], Mapping[Any, T]],
        row: Base,
        key: Callable[[Any], Any],
    ) -> T | None:
        """What `fetch` finds for the key of this row. It is asked for as many as possible of the
        rows of this kind that the request has read, so that a page costs no more queries than one
        row does."""
        found = self._found.setdefault(fetch, {})
        if key(row) not in found:
            read = list(self.session.identity_map.values())
            keys = {key(other) for other in read if type(other) is type(row)}
            others = islice(keys - found.keys() - {None, key(row)}, TOGETHER - 1)
            wanted = {key(row), *others}
            found.update({**dict.fromkeys(wanted), **fetch(self, wanted)})
        return found[key(row)]

    def once(self, name: Hashable, fetch: Callable[[], T]) -> T:
        """What `fetch` finds, which other fields of this name have found as well."""
        found = self._found.setdefault(None, {})
        if name not in found:
            found[name] = fetch()
        return found[name]

    def count_text(self, text: str) -> None:
        """Count a text that goes into the response."""
        self._characters -= len(text)
        if self._characters < 0:
            raise LimitExceeded(f"the answer has more than {CHARACTERS:,} characters: ask for less")

    def check_deadline(self) -> None:
        if time.monotonic() > self._deadline:
            raise LimitExceeded(f"this takes longer than the {SECONDS} seconds that a query may")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """For a mutation: what was read before is forgotten. It takes the time that it takes, and
        reading its result is given as much as any query."""
        if time.monotonic() > self._began + CHANGING_SECONDS:
            raise LimitExceeded(
                f"this was not done: those before it took more than {CHANGING_SECONDS} seconds"
            )
        self.close()
        self._deadline = math.inf
        try:
            yield
        finally:
            self._deadline = time.monotonic() + SECONDS

    def close(self) -> None:
        """Let go of the session, and of what was read in it."""
        self._found.clear()
        if self._session is not None:
            self._session.close()
            self._session = None
