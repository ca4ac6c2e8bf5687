"""What a run writes, and what of it is in the logs."""

from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import func, update

from buildsrht.errors import Conflict
from buildsrht.logs import LogName, spool_chunks
from buildsrht.models import Job
from buildsrht.services import runs
from tests.build_host import claim
from tests.worker.outcome import read_log, sealed_logs
from worker.logbook import Logbook, OutputLimitReached, seal_spool, spooled_logs

SECRET = b"correct-horse-battery"
TOO_SHORT = "A secret, or a part of one, is too short to be masked in logs.\n"


@pytest.fixture
def job(make_job):
    return make_job("running")


@pytest.fixture
def open_logbook(backend, job, tmp_path):
    """A logbook of a job, with an operator's limit."""

    def open_it(limit=1000):
        limits = replace(backend.config.limits, log=limit)
        limited = replace(backend, config=replace(backend.config, limits=limits))
        return Logbook(limited, job.id, job.attempt, tmp_path)

    return open_it


@pytest.fixture
def logs_of(backend, job):
    """The setup log, and that of the first task."""
    return lambda: (read_log(backend, job.id), read_log(backend, job.id, job.tasks[0].id))


def test_a_secret_is_in_no_log_however_it_is_written(open_logbook, job, logs_of):
    with closing(open_logbook()) as logbook:
        logbook.mask([SECRET])
        logbook.write(b"setup " + SECRET + b"\n")
        logbook.say(f"The reason was {SECRET.decode()}.")
        logbook.start_task(job.tasks[0].id)
        for byte in b"+ echo " + SECRET + b"\n":
            logbook.write(bytes([byte]))
        logbook.end_task()
    assert logs_of() == (b"setup ***\nThe reason was ***.\n", b"+ echo ***\n")


def test_secrets_that_are_named_later_are_added(open_logbook, logs_of):
    with closing(open_logbook()) as logbook:
        logbook.write(SECRET + b"\n")
        logbook.mask([SECRET])
        logbook.write(b"one " + SECRET)
        logbook.mask([b"another secret"])
        logbook.write(b" and another secret, " + SECRET + b"\n")
    assert logs_of()[0] == SECRET + b"\none *** and ***, ***\n"


def test_spool_and_live_log_get_masked_bytes_only(open_logbook, backend, job):
    with closing(open_logbook()) as logbook:
        logbook.mask([SECRET])
        logbook.write(b"a " + SECRET[:9])
        logbook.write(SECRET[9:] + b" b")
        assert b"".join(spool_chunks(logbook.setup.spool)) == b"a *** b"
        assert backend.redis.get(LogName(job.id, None).live_key) == b"a *** b"


def test_nothing_is_held_back_while_nothing_is_hidden(open_logbook, logs_of):
    with closing(open_logbook()) as logbook:
        logbook.mask([])
        logbook.write(SECRET)
        assert logs_of()[0] == SECRET


def test_what_was_held_back_stays_in_its_log_and_before_what_is_said(open_logbook, job, logs_of):
    beginning = SECRET[:9]
    with closing(open_logbook()) as logbook:
        logbook.mask([SECRET])
        logbook.write(b"setup " + beginning)
        logbook.start_task(job.tasks[0].id)
        logbook.write(b"task " + beginning)
        logbook.say("|said")
        logbook.write(beginning)
        logbook.end_task()
        logbook.write(beginning)
    assert logs_of() == (
        b"setup " + beginning + beginning,
        b"task " + beginning + b"|said\n" + beginning,
    )


@pytest.mark.parametrize(("values", "warnings"), [([b"short", b"tiny"], 1), ([SECRET], 0)])
def test_a_secret_that_is_too_short_is_told_of_once_and_not_shown(
    open_logbook, logs_of, values, warnings
):
    with closing(open_logbook()) as logbook:
        logbook.mask(values)
        logbook.mask(values)
        logbook.write(b"short")
    said = logs_of()[0].decode()
    assert said == TOO_SHORT * warnings + "short"


# --- the limit ------------------------------------------------------------------------------------


def test_the_limit_counts_what_is_written(open_logbook, logs_of):
    with closing(open_logbook(limit=30)) as logbook:
        logbook.mask([SECRET])
        for _ in range(7):
            logbook.write(SECRET + b"\n")
        with pytest.raises(OutputLimitReached, match="more than the 30 bytes"):
            logbook.write(SECRET + b"\n")
        logbook.say("cut")
    assert logs_of()[0] == b"***\n" * 7 + b"**cut\n"


def test_at_the_limit_no_part_of_a_secret_is_shown(open_logbook, logs_of):
    with closing(open_logbook(limit=30)) as logbook:
        logbook.mask([SECRET])
        logbook.write(b"x" * 20)
        with pytest.raises(OutputLimitReached):
            logbook.write(b"y" + SECRET[:15])
        logbook.say("|cut")
    assert logs_of()[0] == b"x" * 20 + b"y|cut\n"


def test_what_is_held_back_has_room_when_it_comes_out(open_logbook, logs_of):
    with closing(open_logbook(limit=30)) as logbook:
        logbook.mask([SECRET])
        logbook.write(b"x" * 20 + SECRET[:10])
    assert logs_of()[0] == b"x" * 20 + SECRET[:10]


def test_marks_are_where_bytes_are_when_these_were_masked(open_logbook, backend, job):
    with closing(open_logbook()) as logbook:
        logbook.mask([SECRET])
        logbook.write(b"one " + SECRET + b"\n")
        logbook.say("two")

    with backend.transaction() as session:
        view = backend.logs.view(session, LogName(job.id, None))

    assert (view.size, view.lines) == (len(b"one ***\ntwo\n"), 2)
    assert view.marks().last() in [(0, 0), (len(b"one ***\n"), 1)]
    assert view.marks().time_at(0) is not None


def test_a_log_that_its_run_did_not_live_to_seal_has_its_marks(
    open_logbook, backend, job, tmp_path
):
    logbook = open_logbook()
    logbook.write(b"one\n")
    logbook.start_task(job.tasks[0].id)
    logbook.write(b"two\n")

    logs = spooled_logs(job.id, tmp_path)
    for name, spool in logs:
        seal_spool(backend, name, 1, spool, last_words=b"lost\n")

    assert [name.task_id for name, _ in logs] == [None, job.tasks[0].id]
    with backend.transaction() as session:
        views = [backend.logs.view(session, name) for name, _ in logs]
    assert [view.lines for view in views] == [2, 2]
    assert all(view.marks().time_at(0) for view in views)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_run_that_was_given_up_seals_nothing_and_takes_nothing_away(backend, make_job, tmp_path):
    make_job()
    books = []
    for attempt in (1, 2):
        claim(backend, 1, f"host-{attempt}")
        directory = tmp_path / str(attempt)
        directory.mkdir()
        books.append(Logbook(backend, 1, attempt, directory))
        books[-1].say(f"attempt {attempt}")
        with backend.transaction() as session:
            session.execute(update(Job).values(lease_expires=func.now()))
        if attempt == 1:
            runs.expire_leases(backend)
    before = read_log(backend, 1)
    assert before.endswith(b"attempt 2\n")

    books[0].close()
    assert (read_log(backend, 1), sealed_logs(backend, 1)) == (before, 0)

    books[1].close()
    assert (read_log(backend, 1), sealed_logs(backend, 1)) == (before, 1)


def test_the_setup_log_is_sealed_with_what_ends_the_job_or_not_at_all(open_logbook, backend, job):
    logbook = open_logbook()
    logbook.say("said")

    def refuse(_):
        raise Conflict("it has ended")

    with pytest.raises(Conflict):
        logbook.close(refuse)
    assert (read_log(backend, job.id), sealed_logs(backend, job.id)) == (b"said\n", 0)

    assert logbook.close(lambda session: session.get(Job, job.id).status) == "running"
    assert (read_log(backend, job.id), sealed_logs(backend, job.id)) == (b"said\n", 1)
