"""A job that is lost before its first task is begun again, and readers of its log notice no more
than a line."""

from dataclasses import replace

import pytest
from redis.exceptions import RedisError
from sqlalchemy import func, select, update

from buildsrht.errors import Conflict
from buildsrht.logs import LogName, LogWriter
from buildsrht.models import Fault, Job, JobEvent, JobStatus, TaskStatus, Token
from buildsrht.services import jobs, runs, tokens
from tests.build_host import claim, finish

SETUP = LogName(1, None)
AGAIN = "\nThe build host host-1 was lost.\nThe job is begun again: attempt 2 of 3.\n"


@pytest.fixture
def run(backend, make_job):
    """The first attempt at job 1."""
    make_job()
    return claim(backend, 1, "host-1")


@pytest.fixture
def writer(backend, run, tmp_path):
    """Writes the setup log of the first attempt, which has begun."""
    writer = LogWriter(backend.logs, SETUP, run.attempt, tmp_path / "first")
    writer.write(b"starting\n")
    return writer


@pytest.fixture
def lose(backend):
    """The host that has job 1 is not heard of for too long, and somebody notices."""

    def lose():
        with backend.transaction() as session:
            session.execute(update(Job).values(lease_expires=func.now()))
        return runs.expire_leases(backend)

    return lose


@pytest.fixture
def go_on(backend, tmp_path):
    """A writer of the next attempt's setup log, on another host."""

    def go_on():
        run = claim(backend, 1, "host-2")
        spool = tmp_path / f"attempt-{run.attempt}"
        spool.write_bytes(backend.logs.earlier(SETUP)[0])
        return run, LogWriter(backend.logs, SETUP, run.attempt, spool)

    return go_on


def read(backend, name=SETUP) -> str:
    with backend.transaction() as session:
        view = backend.logs.view(session, name)
    return b"".join(view.read(0, view.size)).decode()


def with_attempts(backend, count: int):
    worker = replace(backend.config.worker, attempts=count)
    return replace(backend, config=replace(backend.config, worker=worker))


# --- begun again ----------------------------------------------------------------------------------


def test_a_job_that_is_lost_before_its_first_task_is_queued_again(
    backend, run, writer, lose, fetch
):
    assert lose() == [1]

    job = fetch(1)
    assert (job.status, job.attempt, job.runner, job.fault) == (JobStatus.QUEUED, 1, None, None)
    assert (job.started, job.lease_expires, job.plan) == (None, None, {})
    again = claim(backend, 1, "host-2")
    assert (again.attempt, fetch(1).status) == (2, JobStatus.RUNNING)


def test_its_events_tell_of_it(backend, run, writer, lose):
    lose()

    with backend.transaction() as session:
        events = session.scalars(select(JobEvent).order_by(JobEvent.id)).all()
    last = events[-1]
    assert (last.status, last.attempt) == (JobStatus.QUEUED, 1)
    assert last.cause == "The build host host-1 was lost."


def test_its_log_says_so_and_goes_on(backend, writer, lose, go_on):
    lose()
    assert read(backend) == f"starting\n{AGAIN}"

    _, writer = go_on()
    writer.write(b"starting anew\n")

    assert read(backend) == f"starting\n{AGAIN}starting anew\n"


def test_not_a_byte_is_lost_by_attempts_that_have_written_none_of_their_own(backend, writer, lose):
    for host in ("host-2", "host-3"):
        assert lose() == [1]
        backend.redis.flushdb()
        claim(backend, 1, host)

    assert lose() == [1]

    said = read(backend)
    assert said.startswith(f"starting\n{AGAIN}")
    assert said.endswith("\nThe build host host-3 was lost.\n")


def test_not_a_byte_is_lost_with_a_redis_that_is_wiped_meanwhile(backend, writer, lose, go_on):
    lose()
    backend.redis.flushdb()

    _, writer = go_on()
    writer.write(b"starting anew\n")

    assert read(backend) == f"starting\n{AGAIN}starting anew\n"


def test_it_is_begun_so_often_and_has_failed_then_by_our_fault(backend, writer, lose, go_on, fetch):
    for _ in range(2):
        assert lose() == [1]
        _, writer = go_on()
        writer.write(b"starting anew\n")

    assert lose() == [1]

    assert (fetch(1).status, fetch(1).fault) == (JobStatus.FAILED, Fault.SERVICE)
    assert read(backend).endswith("starting anew\n\nThe build host host-2 was lost.\n")
    assert read(backend).count("starting anew") == 2
    [kept, marks] = sorted(backend.storage.keys("logs/1/"))
    assert (kept.startswith("logs/1/setup-"), marks) == (True, f"{kept}.marks")


def test_the_token_that_it_was_given_opens_nothing_any_more(backend, run, writer, lose):
    tokens.create_job_token(backend, run, ["jobs:read"])

    lose()

    with backend.transaction() as session:
        assert session.scalar(select(func.count(Token.id))) == 0


# --- not begun again ------------------------------------------------------------------------------


def test_not_once_a_task_has_begun(backend, run, writer, lose, fetch):
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)

    lose()

    assert fetch(1).status == JobStatus.FAILED


def test_not_if_its_owner_wanted_it_cancelled(backend, run, writer, owner, lose, fetch):
    jobs.cancel(backend, 1, owner)

    lose()

    assert (fetch(1).status, fetch(1).fault) == (JobStatus.CANCELLED, None)


def test_not_if_the_operator_wants_one_attempt(backend, run, writer, fetch):
    backend = with_attempts(backend, 1)
    with backend.transaction() as session:
        session.execute(update(Job).values(lease_expires=func.now()))

    runs.expire_leases(backend)

    assert fetch(1).status == JobStatus.FAILED


def test_not_before_its_log_can_be_kept(backend, writer, lose, fetch, monkeypatch):
    def away(*_):
        raise RedisError("away")

    with monkeypatch.context() as context:
        context.setattr(backend.logs, "fence", away)
        assert lose() == []
    assert fetch(1).status == JobStatus.RUNNING

    assert runs.expire_leases(backend) == [1]
    assert read(backend) == f"starting\n{AGAIN}"


# --- a host that does not know --------------------------------------------------------------------


def test_what_a_host_writes_that_was_given_up_nobody_sees(backend, writer, lose, go_on):
    lose()
    writer.write(b"still here\n")
    assert read(backend) == f"starting\n{AGAIN}"

    _, newer = go_on()
    newer.write(b"starting anew\n")
    writer.write(b"and here\n")

    assert read(backend) == f"starting\n{AGAIN}starting anew\n"


@pytest.mark.parametrize("is_taken", [False, True])
def test_nor_can_it_seal_the_log_or_end_the_job(backend, run, writer, lose, fetch, is_taken):
    lose()
    if is_taken:
        claim(backend, 1, "host-2")

    with backend.transaction() as session:
        backend.logs.seal(session, SETUP, run.attempt, iter([b"mine\n"]))
    with pytest.raises(Conflict):
        finish(backend, run, JobStatus.SUCCESS)
    with pytest.raises(Conflict):
        runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)

    assert "mine" not in read(backend)
    assert fetch(1).status == (JobStatus.RUNNING if is_taken else JobStatus.QUEUED)
