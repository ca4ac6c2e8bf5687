"""The connections that a process keeps, and what becomes of them when a server goes away."""

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DataError, OperationalError

from buildsrht.backend import open_backend

END_THE_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
    " WHERE application_name = 'to be ended'"
)


@pytest.fixture
def mortal(backend):
    """A backend of its own with one idle connection, which the server can be asked to close."""
    opened = open_backend(backend.config)
    with opened.transaction() as session:
        session.execute(text("SET application_name = 'to be ended'"))
    yield opened
    opened.close()


def process_of(backend):
    with backend.transaction() as session:
        return session.scalar(text("SELECT pg_backend_pid()"))


def test_a_connection_is_used_again(mortal):
    assert process_of(mortal) == process_of(mortal)


def test_a_connection_that_the_server_closed_meanwhile_is_replaced_unnoticed(backend, mortal):
    with backend.transaction() as session:
        assert session.scalars(END_THE_OTHERS).all() == [True]

    with mortal.transaction() as session:
        assert session.scalar(select(1)) == 1


def test_a_connection_that_broke_in_use_is_not_used_again(backend, mortal):
    broken = process_of(mortal)
    with pytest.raises(OperationalError), mortal.transaction() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid(), 0)"))

    assert process_of(mortal) != broken


def test_an_error_does_not_quote_what_was_to_be_stored(backend):
    with pytest.raises(DataError) as error, backend.transaction() as session:
        session.execute(text("SELECT 1 / 0 WHERE :url <> ''"), {"url": "https://ada:swordfish@x/"})
    assert "swordfish" not in str(error.value)
