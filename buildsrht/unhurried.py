"""A transaction that stays open while its process does something else that takes long: an upload.

The database ends a transaction in which nothing is said for some seconds (buildsrht.backend): its
process hangs, or is cut off. So one that waits for something else says in between that it is there.
A process that is stopped says nothing, and so keeps no lock from others.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg2
from sqlalchemy.orm import Session

# A few of these fit into the time after which the database gives up.
PAUSE_SECONDS = 2.0


@contextmanager
def unhurried(session: Session) -> Iterator[None]:
    """Keep the session's transaction for as long as the block lasts.

    psycopg2 lets threads share a connection, and makes them wait for each other. An error is left
    for the next statement of the session's own.
    """
    connection = cast(
        psycopg2.extensions.connection, session.connection().connection.dbapi_connection
    )
    over = threading.Event()
    thread = threading.Thread(target=_go_on, args=(connection, over), name="unhurried")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _go_on(connection: psycopg2.extensions.connection, over: threading.Event) -> None:
    while not over.wait(PAUSE_SECONDS):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT")
        except psycopg2.Error:
            return
