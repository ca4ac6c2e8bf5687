"""Clients that send or read slowly do not keep threads from others: a layer around the application.

While a client sends its request's body, or takes its answer, it holds one of the server's threads.
So it may be behind `GRACE_SECONDS` in all, and beyond that it has to be as fast as
`SLOWEST_BYTES` a second, or its connection is shut down: then whatever waits for it goes on, and
finds that the client is gone. And one address has no more than its share of the threads at once.

That is for bodies and answers. Who sends the head of a request slowly has not come to the
application: the server alone could bound that, and a proxy in front does (docs/security.md).

Knows the socket of a client as gunicorn passes it on, and else changes nothing. Does not apply to
streams of events, which have limits of their own, but for the rate.
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from buildsrht.services.attempts import place

GRACE_SECONDS = 30.0
SLOWEST_BYTES = 16 * 1024
# Between two looks at the clock.
LOOK_SECONDS = 1.0
RETRY_SECONDS = 1
# How a body that has no length is counted beforehand: as one of this length.
UNKNOWN_LENGTH = 2**20

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class SlowClients:
    """The application, with no more than `share` requests of one address at once."""

    def __init__(self, application: Application, share: int):
        self._application = application
        self._places = _Places(share)
        self._clock = _Clock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket")
        if connection is None:
            return self._application(environ, start_response)
        where = place(environ.get("REMOTE_ADDR"))
        if not self._places.take(where):
            # Its body is not waited for, not even to be thrown away.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
            return _refused()(environ, start_response)
        held = _Held(self._places, where)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if Headers(headers).get("Content-Type", "").startswith("text/event-stream"):
                held.leave()
            return start_response(status, headers, *rest)

        try:
            with self._clock.until(connection, socket.SHUT_RD, _seconds_to_send(environ)):
                sent = self._application(environ, start)
        except BaseException:
            held.leave()
            raise
        return _Sent(sent, connection, self._clock, held)


def _seconds_to_send(environ: dict[str, Any]) -> float:
    length = environ.get("CONTENT_LENGTH") or ""
    expected = int(length) if length.isascii() and length.isdecimal() else UNKNOWN_LENGTH
    return GRACE_SECONDS + expected / SLOWEST_BYTES


def _refused() -> Response:
    reason = "your address has as many requests under way as one may; wait for one to end"
    return Response(
        f'{{"errors":[{{"reason":"{reason}"}}]}}',
        503,
        {"Retry-After": str(RETRY_SECONDS)},
        mimetype="application/json",
    )


class _Places:
    """How many requests of each address are under way."""

    def __init__(self, share: int):
        self._share = share
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, where: str) -> bool:
        with self._lock:
            if self._taken[where] >= self._share:
                return False
            self._taken[where] += 1
            return True

    def leave(self, where: str) -> None:
        with self._lock:
            self._taken[where] -= 1
            if not self._taken[where]:
                del self._taken[where]


class _Held:
    """One place; it is left once, however often."""

    def __init__(self, places: _Places, where: str):
        self._places = places
        self._where = where
        self._is_left = False

    def leave(self) -> None:
        if not self._is_left:
            self._is_left = True
            self._places.leave(self._where)


class _Sent:
    """The answer, part by part. What counts is the time that the client takes for them, not the
    time that we need to make them."""

    def __init__(
        self, parts: Iterable[bytes], connection: socket.socket, clock: "_Clock", held: _Held
    ):
        self._parts = parts
        self._connection = connection
        self._clock = clock
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        left = GRACE_SECONDS
        for part in self._parts:
            left = left + len(part) / SLOWEST_BYTES
            begun = time.monotonic()
            with self._clock.until(self._connection, socket.SHUT_RDWR, left):
                yield part
            # Who was fast has not saved anything up for later.
            left = min(GRACE_SECONDS, left - (time.monotonic() - begun))

    def close(self) -> None:
        self._held.leave()
        close = getattr(self._parts, "close", None)
        if close:
            close()


class _Clock:
    """Shuts down the connections whose time is over. One thread looks at all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[_Deadline, float] = {}
        self._thread: threading.Thread | None = None

    def until(self, connection: socket.socket, how: int, seconds: float) -> "_Deadline":
        """For as long as a block lasts, but not longer than that."""
        return _Deadline(self, connection, how, seconds)

    def begin(self, deadline: "_Deadline") -> None:
        with self._lock:
            self._deadlines[deadline] = time.monotonic() + deadline.seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="clock", daemon=True)
                self._thread.start()

    def end(self, deadline: "_Deadline") -> None:
        with self._lock:
            self._deadlines.pop(deadline, None)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            # With the lock, so that no connection is shut down that has gone on to something else.
            with self._lock:
                over = [each for each, at in self._deadlines.items() if at <= now]
                for deadline in over:
                    del self._deadlines[deadline]
                    deadline.shut_down()


class _Deadline:
    def __init__(self, clock: _Clock, connection: socket.socket, how: int, seconds: float):
        self.seconds = seconds
        self._clock = clock
        self._connection = connection
        self._how = how

    def __enter__(self) -> None:
        self._clock.begin(self)

    def __exit__(self, *_: object) -> None:
        self._clock.end(self)

    def shut_down(self) -> None:
        # It may be closed already.
        with suppress(OSError):
            self._connection.shutdown(self._how)
