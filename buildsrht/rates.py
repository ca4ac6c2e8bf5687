"""How much one client may ask for in a time. Counted in Redis, for all web processes together.

A window that slides: what was asked for in the last minute, say, counts, wherever that minute
begins. For each client that costs two small keys, which are gone when it has not come for two
windows.

Redis is transport, and may be away: then nothing is counted and everybody is let in. That costs a
request `SECONDS` at most, and only one in `PAUSE_SECONDS` of each process. What must not go on
uncounted, such as attempts at passwords, is in buildsrht.services.attempts.
"""

import logging
import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from buildsrht.config import Rate

log = logging.getLogger(__name__)

PREFIX = "rates"
# What Redis may take to connect, and to answer.
SECONDS = 0.5
# For so long one that did not answer is not asked again.
PAUSE_SECONDS = 5


@dataclass(frozen=True)
class Count:
    """What one client has left of a rate. `seconds` is when there is more."""

    what: str
    rate: Rate
    left: int
    seconds: int
    is_exceeded: bool


class Rates:
    """The counters of one Redis. Connects when it is asked first."""

    def __init__(self, url: str):
        self._pool = ConnectionPool.from_url(
            url,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        storage = RedisStorage("redis://", connection_pool=self._pool, key_prefix=PREFIX)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._asked_again = 0.0

    def count(self, what: str, rate: Rate | None, client: str) -> Count | None:
        """One more of that by this client. None if there is no such limit, or nobody counts."""
        if rate is None or time.monotonic() < self._asked_again:
            return None
        item = RateLimitItemPerSecond(rate.amount, rate.seconds, namespace=what)
        try:
            is_within = self._limiter.hit(item, client)
            stats = self._limiter.get_window_stats(item, client)
        except RedisError as error:
            self._asked_again = time.monotonic() + PAUSE_SECONDS
            log.warning("%s are not counted for %d s: %s", what, PAUSE_SECONDS, error)
            return None
        seconds = max(1, math.ceil(stats.reset_time - time.time()))
        return Count(what, rate, stats.remaining, seconds, not is_within)

    def close(self) -> None:
        self._pool.disconnect()
