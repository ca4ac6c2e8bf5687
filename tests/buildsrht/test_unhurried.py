"""A transaction that waits for something else lives on, and one whose process hangs does not."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from sqlalchemy import exc, text
from sqlalchemy.orm import Session

from buildsrht import config, unhurried
from buildsrht.logs import LogName
from tests.build_host import claim

IMPATIENT = text("SET LOCAL idle_in_transaction_session_timeout = '300ms'")
LONGER_SECONDS = 1
USUAL_PAUSE = unhurried.PAUSE_SECONDS
# A process that has locked the row of job 1, says so, and would hold it for ever.
HOLDER = """
import sys, threading
from sqlalchemy import text
from buildsrht import unhurried
from buildsrht.backend import open_backend
from buildsrht.config import load
unhurried.PAUSE_SECONDS = 0.05
with open_backend(load()).transaction() as session, unhurried.unhurried(session):
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '300ms'"))
    session.execute(text("SELECT 1 FROM job WHERE id = 1 FOR UPDATE"))
    print("held", flush=True)
    threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def shortly(monkeypatch):
    monkeypatch.setattr(unhurried, "PAUSE_SECONDS", 0.05)


def take_long():
    threading.Event().wait(LONGER_SECONDS)


def test_it_lasts_as_long_as_its_block(backend):
    with backend.transaction() as session:
        session.execute(IMPATIENT)
        before = session.scalar(text("SELECT txid_current()"))
        with unhurried.unhurried(session):
            take_long()
        assert session.scalar(text("SELECT txid_current()")) == before


def test_without_it_the_database_ends_what_is_idle(backend):
    session = Session(backend.engine)
    session.execute(IMPATIENT)
    take_long()
    with pytest.raises(exc.DBAPIError):
        session.execute(text("SELECT 1"))
    session.close()


def test_an_error_in_the_block_leaves_no_thread_behind(backend):
    with pytest.raises(KeyError), backend.transaction() as session, unhurried.unhurried(session):
        raise KeyError
    assert "unhurried" not in [thread.name for thread in threading.enumerate()]


def test_a_process_that_was_stopped_keeps_nothing_from_others(backend, make_job):
    make_job("queued")
    env = {**os.environ, "VAR": str(backend.config.var)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, env=env
    ) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            os.kill(holder.pid, signal.SIGSTOP)
            with backend.transaction() as session:
                session.execute(text("UPDATE job SET note = 'moved' WHERE id = 1"))
        finally:
            holder.kill()


def test_a_log_that_takes_long_to_store_is_sealed(backend, make_job):
    run = claim(backend, make_job("queued").id, "host-1")

    def chunks():
        yield b"slow"
        take_long()

    with backend.transaction() as session:
        session.execute(IMPATIENT)
        assert backend.logs.seal(session, LogName(run.job_id, None), run.attempt, chunks())
    with backend.transaction() as session:
        view = backend.logs.view(session, LogName(run.job_id, None))
    assert (view.sealed, b"".join(view.read(0, view.size))) == (True, b"slow")


def test_who_hangs_has_lost_its_transaction_long_before_its_lease(backend):
    asked = text("SELECT extract(epoch FROM current_setting(:name)::interval)")
    with backend.transaction() as session:
        seconds = session.scalar(asked, {"name": "idle_in_transaction_session_timeout"})
    assert seconds > 2 * USUAL_PAUSE
    assert 2 * seconds <= config.load({}).worker.lease
