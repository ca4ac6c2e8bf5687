"""The database, the queue, logs, storage and images of one configuration, opened together.

Every process makes one of these at its start and passes it to the services. After a fork the
child makes its own: neither database connections nor the storage's threads survive one.
"""

import logging
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from sqlalchemy import Engine, create_engine, event, exc
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError
from sqlalchemy.orm import Session

from buildsrht import catalogue
from buildsrht.catalogue import Catalogue
from buildsrht.config import Config
from buildsrht.keys import Keys
from buildsrht.logs import Logs
from buildsrht.outbox import Outbox, finish_group
from buildsrht.queue import IdQueue, JobQueue, delivery_queue, job_queue, push_queue, reset_queue
from buildsrht.rates import Rates
from buildsrht.storage import Storage, StorageError, open_storage

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
# A server that is cut off says nothing, and the kernel alone would wait for it for a quarter of an
# hour.
SILENT_SECONDS = 10
REDIS_OVER_TCP = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        socket.TCP_KEEPIDLE: SILENT_SECONDS // 2,
        socket.TCP_KEEPINTVL: SILENT_SECONDS // 5,
        socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: SILENT_SECONDS * 1000,
    },
}
# A process that hangs in a transaction, or is cut off in one, holds what its transaction has locked
# no longer than this: far less than a lease, or a job of a host that was lost could not be ended in
# time. A proxy between would keep the server from noticing that a client is gone.
IDLE_SECONDS = 10
# The last four are the server's side of SILENT_SECONDS: what a client that is cut off held, others
# get.
SESSION = (
    "timezone=UTC",
    "lock_timeout=10s",
    "statement_timeout=30s",
    f"idle_in_transaction_session_timeout={IDLE_SECONDS}s",
    f"tcp_keepalives_idle={SILENT_SECONDS // 2}",
    f"tcp_keepalives_interval={SILENT_SECONDS // 5}",
    "tcp_keepalives_count=3",
    f"tcp_user_timeout={SILENT_SECONDS * 1000}",
)
POSTGRES_OVER_TCP = {
    "keepalives_idle": SILENT_SECONDS // 2,
    "keepalives_interval": SILENT_SECONDS // 5,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENT_SECONDS * 1000,
}

# What the libraries raise when a server is away or too busy to answer in time.
OUTAGES = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
    RedisConnectionError,
    RedisTimeoutError,
    StorageError,
)


def outage_words(error: Exception) -> str:
    """What a client learns of a server that is away: not where it is."""
    server = "the storage" if isinstance(error, StorageError) else "the database or the queue"
    return f"{server} does not answer; try again in a moment"


@dataclass(frozen=True)
class Backend:
    config: Config
    engine: Engine
    redis: Redis
    queue: JobQueue
    deliveries: IdQueue
    pushes: IdQueue
    resets: IdQueue
    logs: Logs
    storage: Storage
    catalogue: Catalogue
    keys: Keys
    rates: Rates

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls back on an error.

        What it owes for jobs that it ended is then sent on its way.
        """
        outbox = Outbox(self.config.courier.patience)
        session = Session(self.engine, expire_on_commit=False, info=outbox.session_info)
        with session, session.begin():
            yield session
        self._send(outbox)

    def _send(self, outbox: Outbox) -> None:
        """What is not done here the janitor does, so this never fails what has succeeded."""
        try:
            for group_id in outbox.group_ids:
                with self.transaction() as session:
                    finish_group(session, group_id)
            if outbox.delivery_ids:
                self.deliveries.enqueue(*outbox.delivery_ids)
        except (RedisError, SQLAlchemyError) as error:
            log.warning("deliveries are left to the janitor: %s", error)

    def close(self) -> None:
        self.engine.dispose()
        self.redis.close()
        self.rates.close()


def open_redis(url: str) -> Redis:
    options: dict[str, Any] = {} if url.startswith("unix:") else REDIS_OVER_TCP
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(ExponentialBackoff(cap=0.5), retries=2),
        **options,
    )


def _refuse_hung_up(connection: psycopg2.extensions.connection, *_: object) -> None:
    """Have the pool open a new connection in place of one that its server has closed.

    Between transactions a server says nothing until it goes away. So there is no need to ask it
    each time, which is what SQLAlchemy's `pool_pre_ping` does.
    """
    arrived = select.poll()
    arrived.register(connection, select.POLLIN)
    if arrived.poll(0):
        raise DisconnectionError("the server has closed this connection")


def open_backend(config: Config) -> Backend:
    engine = create_engine(
        config.database.url,
        pool_size=config.web.threads,
        # An error's text goes into logs and, with RQ, into Redis: no address of a user's receiver,
        # no hash of a token.
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            **POSTGRES_OVER_TCP,
            "options": " ".join(f"-c {setting}" for setting in SESSION),
        },
    )
    event.listen(engine, "checkout", _refuse_hung_up)
    redis = open_redis(config.redis.url)
    storage = open_storage(config.storage)
    return Backend(
        config=config,
        engine=engine,
        redis=redis,
        queue=job_queue(redis, config.worker.job_timeout),
        deliveries=delivery_queue(redis),
        pushes=push_queue(redis),
        resets=reset_queue(redis),
        logs=Logs(redis, storage, engine),
        storage=storage,
        catalogue=catalogue.load(config.images.recipes),
        keys=Keys(config.keys.path),
        rates=Rates(config.redis.url),
    )
