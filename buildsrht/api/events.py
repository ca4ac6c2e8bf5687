"""`/api/jobs/<id>/events`: what happens to a job, as it happens, as server-sent events.

A stream holds a thread of the server for as long as it lasts, and so there are `[web] streams` of
them in each process, beside the threads that answer everything else, and a part of those for each
client. It ends with its job; before that when it has lasted for long, when its client is gone, when
the database or Redis is away, and when the server is asked to stop. Then a client comes again, with
the id of the last event it has.
"""

import json
import logging
import select
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from threading import Lock
from typing import NoReturn

from flask import Blueprint, Flask, Response, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from buildsrht.api import fields, render
from buildsrht.backend import OUTAGES
from buildsrht.config import Config
from buildsrht.journal import of_job
from buildsrht.oauth import acting_user_if_any, may_also
from buildsrht.services import stream
from buildsrht.services.stream import Cursor, Told
from buildsrht.serving import RETRY_SECONDS, current_backend, reason_of
from buildsrht.throttling import client_of_request

log = logging.getLogger(__name__)

routes = Blueprint("events", __name__, url_prefix="/api/jobs/<int:job_id>/events")
EXTENSION = "buildsrht.streams"

# One client may have that part of the streams: a user, or else an address.
SHARED_BY = 4
# A client that lost its connection waits this long before it comes again.
RETRY_MILLISECONDS = 1000
# Proxies close what is silent for longer than a minute, or half of one.
HEARTBEAT_SECONDS = 15
# For so long a token that was revoked, or a sign-in that was ended, may still be told something.
LONGEST_SECONDS = 600
# From one look for something new to the next: shorter while there is much.
SHORTEST_PAUSE_SECONDS = 0.04
LONGEST_PAUSE_SECONDS = 0.15


class Streams:
    """The streams of one process: there are not more than it has threads for, and one client has
    no more than its share of them."""

    def __init__(self, most: int):
        self._most = most
        self._share = max(1, most // SHARED_BY)
        self._all = 0
        self._taken: Counter[str] = Counter()
        self._lock = Lock()
        # Not counted at once: a stream may be ended by the collector of garbage, in the middle of
        # anything here.
        self._ended: deque[str] = deque()
        self.are_ending = False

    def begin(self, client: str) -> None:
        """One more, of this client. Raises ServiceUnavailable."""
        with self._lock:
            self._count_ended()
            if self.are_ending or self._all >= self._most:
                _refuse("all streams of events are taken; try again in a moment")
            if self._taken[client] >= self._share:
                _refuse("you have as many streams of events as one may; end one first")
            self._all += 1
            self._taken[client] += 1

    def end(self, client: str) -> None:
        self._ended.append(client)

    def _count_ended(self) -> None:
        while self._ended:
            client = self._ended.popleft()
            self._all -= 1
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


def _refuse(reason: str) -> NoReturn:
    raise ServiceUnavailable(reason, retry_after=RETRY_SECONDS)


def install(app: Flask, config: Config) -> None:
    app.extensions[EXTENSION] = Streams(config.web.streams)


def end_all(app: Flask) -> None:
    """Have every stream of this process end within a moment, and none begin."""
    app.extensions[EXTENSION].are_ending = True


@routes.get("")
def show(job_id: int) -> ResponseReturnValue:
    """Without a token like logs, as pages are: whoever sees a job may watch it."""
    viewer = acting_user_if_any("jobs:read")
    after = _requested_cursor()
    happenings = stream.follow(
        current_backend(),
        job_id,
        viewer,
        after,
        logs=may_also("logs:read"),
        text=fields.requested_word("text", ("yes", "no")) != "no",
    )
    if after.over:
        # All has been told. Browsers, which come again after every end, stop at this.
        return Response(status=204)
    streams: Streams = current_app.extensions[EXTENSION]
    client = client_of_request()
    streams.begin(client)
    sent = _send(job_id, happenings, streams, current_backend().config, _hang_up())
    response = Response(sent, content_type="text/event-stream; charset=utf-8")
    # Once: when the server is done with it, or else when nothing has it any more.
    response.call_on_close(weakref.finalize(sent, streams.end, client))
    response.headers["Cache-Control"] = "no-store"
    # nginx would keep events back until it has a lot of them.
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _requested_cursor() -> Cursor:
    """A browser that comes back says where it was in a header, and still asks the first address."""
    text = request.headers.get("Last-Event-ID", request.args.get("last_event_id"))
    return Cursor() if text is None else stream.read_cursor(text)


def _hang_up() -> Callable[[], bool]:
    """Whether the client is gone, where the server lets us look: else the next word to it tells."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return lambda: False
    ended = select.poll()
    ended.register(connection, select.POLLRDHUP)
    return lambda: bool(ended.poll(0))


def _send(
    job_id: int,
    happenings: Iterator[Told | None],
    streams: Streams,
    config: Config,
    is_gone: Callable[[], bool],
) -> Iterator[str]:
    yield f"retry: {RETRY_MILLISECONDS}\n\n"
    end = time.monotonic() + LONGEST_SECONDS
    try:
        heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        pause = SHORTEST_PAUSE_SECONDS
        for told in happenings:
            if streams.are_ending:
                return
            if told:
                yield _event(config, told)
                heartbeat = time.monotonic() + HEARTBEAT_SECONDS
                pause = SHORTEST_PAUSE_SECONDS
                continue
            if time.monotonic() >= end or is_gone():
                return
            if time.monotonic() >= heartbeat:
                yield ":\n\n"
                heartbeat = time.monotonic() + HEARTBEAT_SECONDS
            time.sleep(pause)
            pause = min(1.2 * pause, LONGEST_PAUSE_SECONDS)
    except OUTAGES as error:
        log.error(
            "its events: %s: %s", type(error).__name__, reason_of(error), extra=of_job(job_id)
        )


def _event(config: Config, told: Told) -> str:
    name, data = render.happening(config, told.what)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\nid: {told.cursor}\ndata: {text}\n\n"
