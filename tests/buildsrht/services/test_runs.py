"""A build host's side of a job: claim, keep alive, report, end; and when it does not."""

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from buildsrht.errors import Conflict
from buildsrht.logs import LogName
from buildsrht.models import Duty, Fault, Job, JobStatus, KeptMachine, Task, TaskStatus
from buildsrht.services import duties, jobs, runs
from buildsrht.services.runs import Summons
from buildsrht.storage import StorageError
from tests.build_host import claim, finish


@pytest.fixture
def run(backend, make_job):
    """Job 1, claimed by host-1."""
    make_job("queued", secrets=False)
    return claim(backend, 1, "host-1")


@pytest.fixture
def task_statuses(fetch):
    return lambda: [task.status for task in fetch(1).tasks]


def read_log(backend, name):
    with backend.transaction() as session:
        view = backend.logs.view(session, name)
    return view.sealed, b"".join(view.read(0, view.size))


# --- claim ------------------------------------------------------------------------------------


def test_a_claim_holds_all_that_a_build_host_needs(run, fetch, manifest):
    assert (run.job_id, run.attempt, run.runner, run.owner) == (1, 1, "host-1", "owner")
    assert (run.manifest, run.image, run.arch) == (manifest, "debian/trixie", "amd64")
    assert run.secrets is False
    assert list(run.task_ids) == ["build", "test"]
    assert (fetch(1).status, fetch(1).runner) == (JobStatus.RUNNING, "host-1")


def test_a_claim_is_a_lease_of_the_configured_length(run, fetch, backend):
    job = fetch(1)

    assert job.lease_expires - job.started == timedelta(seconds=backend.config.worker.lease)


@pytest.mark.parametrize("status", [status for status in JobStatus if status != JobStatus.QUEUED])
def test_only_a_queued_job_can_be_claimed(backend, make_job, fetch, status):
    make_job(status)

    assert claim(backend, 1, "host-2") is None
    assert fetch(1).status == status


def test_a_job_that_does_not_exist_cannot_be_claimed(backend):
    assert claim(backend, 7, "host-1") is None


# --- keep alive -------------------------------------------------------------------------------


def test_nobody_summons_a_run_that_goes_well(backend, run):
    assert runs.check(backend, run) is None


def test_a_cancelled_run_is_told(backend, run, owner):
    jobs.cancel(backend, 1, owner)

    assert runs.check(backend, run) == Summons.CANCELLED


def test_a_run_that_was_given_up_is_told_and_can_change_nothing(backend, run, task_statuses):
    with backend.transaction() as session:
        session.execute(update(Job).values(attempt=2))

    runs.renew(backend, run)

    assert runs.check(backend, run) == Summons.LOST
    with pytest.raises(Conflict):
        runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    with pytest.raises(Conflict):
        finish(backend, run, JobStatus.SUCCESS)
    assert task_statuses() == ["pending", "pending"]


def test_a_renewed_lease_does_not_expire(backend, run, fetch):
    with backend.transaction() as session:
        session.execute(update(Job).values(lease_expires=func.now()))

    runs.renew(backend, run)

    assert runs.expire_leases(backend) == []
    assert fetch(1).status == JobStatus.RUNNING


# --- tasks and the end ------------------------------------------------------------------------


def test_tasks_move_while_the_job_is_ours(backend, run, task_statuses):
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.SUCCESS)
    runs.move_run_task(backend, run, run.task_ids["test"], TaskStatus.SKIPPED)

    assert task_statuses() == ["success", "skipped"]


@pytest.mark.parametrize(
    "status", [JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.TIMEOUT, JobStatus.CANCELLED]
)
def test_a_run_ends_as_its_host_says(backend, run, fetch, status):
    assert finish(backend, run, status) == status

    job = fetch(1)
    assert (job.status, job.runner, job.lease_expires) == (status, "host-1", None)
    assert job.finished is not None


@pytest.mark.parametrize(("fault", "suspects"), [(Fault.SERVICE, 1), (Fault.BUILD, 0)])
def test_what_a_run_could_not_finish_storing_is_looked_for(
    backend, run, row_counts, fault, suspects
):
    finish(backend, run, JobStatus.FAILED, fault=fault)
    assert row_counts()["lost_job"] == suspects


def test_an_accepted_cancel_wins_over_any_other_end(backend, run, owner, fetch):
    jobs.cancel(backend, 1, owner)

    assert finish(backend, run, JobStatus.SUCCESS) == JobStatus.CANCELLED
    assert fetch(1).status == JobStatus.CANCELLED


def test_a_task_that_was_running_when_its_job_ended_has_failed(backend, run, task_statuses):
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)

    finish(backend, run, JobStatus.TIMEOUT)

    assert task_statuses() == ["failed", "pending"]


def test_no_task_moves_after_the_end(backend, run, task_statuses):
    finish(backend, run, JobStatus.FAILED)

    with pytest.raises(Conflict):
        runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    assert task_statuses() == ["pending", "pending"]


# --- hosts that were lost ---------------------------------------------------------------------


@pytest.fixture
def begin(backend):
    """The first task of a run has begun."""

    def begin(run):
        runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)

    return begin


@pytest.fixture
def lose_host(backend, run, begin):
    """The host that has job 1, and has begun its first task, was not heard of for too long."""

    def lose():
        begin(run)
        with backend.transaction() as session:
            session.execute(update(Job).values(lease_expires=func.now()))

    return lose


def test_a_job_whose_host_is_lost_has_failed_and_so_has_its_task(
    backend, run, lose_host, fetch, task_statuses
):
    lose_host()

    assert runs.expire_leases(backend) == [1]
    assert (fetch(1).status, fetch(1).fault) == (JobStatus.FAILED, Fault.SERVICE)
    assert task_statuses() == ["failed", "pending"]


def test_what_a_lost_host_has_written_is_kept_and_says_how_it_ended(
    backend, run, lose_host, fetch, write_log
):
    write_log(fetch(1), None, b"set up\n")
    write_log(fetch(1), "build", b"half a li")
    lose_host()

    runs.expire_leases(backend)

    build = LogName(1, run.task_ids["build"])
    assert read_log(backend, LogName(1, None)) == (True, b"set up\n")
    assert read_log(backend, build) == (True, b"half a li\nThe build host host-1 was lost.\n")
    assert backend.redis.keys("buildsrht:log:*") == []


def test_a_host_that_was_lost_before_its_first_byte_is_named_in_the_setup_log(backend, lose_host):
    lose_host()

    runs.expire_leases(backend)

    said = b"\nThe build host host-1 was lost.\n"
    assert read_log(backend, LogName(1, None)) == (True, said)


def test_a_job_ends_with_its_logs_in_storage_or_not_yet(
    backend, lose_host, fetch, write_log, monkeypatch
):
    write_log(fetch(1), "build", b"written")
    lose_host()

    def no_space(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(backend.storage, "put", no_space)
    assert runs.expire_leases(backend) == []
    monkeypatch.undo()
    assert fetch(1).status == JobStatus.RUNNING

    assert runs.expire_leases(backend) == [1]
    assert read_log(backend, LogName(1, fetch(1).tasks[0].id))[1].startswith(b"written\n")


def test_a_job_that_cannot_be_ended_now_holds_up_no_other(
    backend, lose_host, fetch, make_job, write_log, begin, monkeypatch
):
    other = make_job("queued")
    begin(claim(backend, other.id, "host-1"))
    write_log(fetch(1), "build", b"written")
    lose_host()
    put = backend.storage.put

    def no_space_for_the_first(key, chunks):
        if key.startswith("logs/1/"):
            raise StorageError("No space left on device")
        return put(key, chunks)

    monkeypatch.setattr(backend.storage, "put", no_space_for_the_first)
    assert runs.expire_leases(backend) == [other.id]
    assert runs.expire_leases(backend) == []

    monkeypatch.undo()
    assert runs.expire_leases(backend) == [1]
    name = LogName(1, fetch(1).tasks[0].id)
    assert read_log(backend, name)[1] == b"written\nThe build host host-1 was lost.\n"


def test_a_host_that_was_lost_shows_nobody_what_is_not_kept(
    backend, run, lose_host, write_log, fetch, monkeypatch
):
    write_log(fetch(1), "build", b"kept")
    lose_host()
    put, name = backend.storage.put, LogName(1, run.task_ids["build"])

    def while_it_writes_on(key, chunks):
        backend.logs.append(name, run.attempt, 4, b", and not kept")
        assert backend.logs.live_view(name).size == 4
        return put(key, chunks)

    monkeypatch.setattr(backend.storage, "put", while_it_writes_on)
    assert runs.expire_leases(backend) == [1]
    assert read_log(backend, name)[1] == b"kept\nThe build host host-1 was lost.\n"


def test_a_host_that_comes_back_cannot_change_what_was_sealed(
    backend, run, lose_host, fetch, write_log
):
    write_log(fetch(1), "build", b"as Redis had it")
    lose_host()
    runs.expire_leases(backend)

    write_log(fetch(1), "build", b", and more", seal=True)

    _, kept = read_log(backend, LogName(1, run.task_ids["build"]))
    assert kept == b"as Redis had it\nThe build host host-1 was lost.\n"


def test_every_lost_job_is_ended(backend, lose_host, make_job, begin):
    begin(claim(backend, make_job().id, "host-2"))
    lose_host()

    assert set(runs.expire_leases(backend)) == {1, 2}
    with backend.transaction() as session:
        assert set(session.scalars(select(Job.status))) == {JobStatus.FAILED}
        statuses = sorted(session.scalars(select(Task.status)))
    assert statuses == ["failed", "failed", "pending", "pending"]


def test_storage_that_is_slow_takes_little_of_the_janitors_time(backend, lose_host, monkeypatch):
    lose_host()
    monkeypatch.setattr(runs, "MOST_SECONDS", 0)
    assert runs.expire_leases(backend) == []
    monkeypatch.undo()
    assert runs.expire_leases(backend) == [1]


def test_when_nobody_heard_the_database_hosts_have_a_lease_to_be_heard_again(
    backend, lose_host, fetch
):
    lose_host()
    duties.hold(backend, duties.JANITOR, "a janitor that has just begun")

    assert runs.expire_leases(backend) == []

    lease = timedelta(seconds=backend.config.worker.lease)
    with backend.transaction() as session:
        session.execute(update(Duty).values(since=func.now() - lease))
    assert runs.expire_leases(backend) == [1]


# --- hosts that hang --------------------------------------------------------------------------


@pytest.fixture
def hang(backend, run, begin):
    """The host that has job 1 renews its lease and does not see that the time is up."""

    def hang(seconds_late):
        begin(run)
        late = func.now() - timedelta(seconds=seconds_late)
        with backend.transaction() as session:
            session.execute(update(Job).values(deadline=late))

    return hang


def test_a_job_that_its_host_does_not_end_in_time_is_ended(
    backend, run, hang, fetch, task_statuses, write_log
):
    write_log(fetch(1), "build", b"on and on")
    hang(runs.OVERDUE.total_seconds() + 1)

    assert runs.expire_leases(backend) == [1]

    assert (fetch(1).status, fetch(1).fault) == (JobStatus.TIMEOUT, Fault.SERVICE)
    assert task_statuses() == ["failed", "pending"]
    assert read_log(backend, LogName(1, run.task_ids["build"])) == (
        True,
        b"on and on\nThe job ran into its time limit, and host-1 did not end it.\n",
    )


def test_a_host_has_time_to_end_a_job_itself(backend, hang, fetch):
    hang(runs.OVERDUE.total_seconds() - 10)

    assert runs.expire_leases(backend) == []
    assert fetch(1).status == JobStatus.RUNNING


def test_what_hangs_before_its_first_task_is_not_begun_again(backend, run, fetch):
    late = func.now() - runs.OVERDUE
    with backend.transaction() as session:
        session.execute(update(Job).values(deadline=late, lease_expires=func.now()))

    assert runs.expire_leases(backend) == [1]
    assert fetch(1).status == JobStatus.TIMEOUT


@pytest.fixture
def age(backend):
    """The job has been as it is for so many seconds."""

    def age(seconds):
        past = func.now() - timedelta(seconds=seconds)
        with backend.transaction() as session:
            session.execute(update(Job).values(updated=past))

    return age


LATE = runs.LEAVING.total_seconds() + 1


def test_a_process_whose_job_runs_has_not_overstayed(backend, run, age):
    age(LATE)
    assert not runs.is_overstayed(backend, 1, run.attempt)


@pytest.mark.parametrize(("seconds", "overstayed"), [(LATE, True), (LATE - 10, False)])
def test_a_process_whose_job_is_over_has_time_to_leave(backend, run, age, seconds, overstayed):
    finish(backend, run, JobStatus.SUCCESS)
    age(seconds)
    assert runs.is_overstayed(backend, 1, run.attempt) == overstayed


def test_a_process_whose_job_is_done_by_another_attempt_has_overstayed(backend, run, age):
    with backend.transaction() as session:
        session.execute(update(Job).values(attempt=run.attempt + 1))
    age(LATE)
    assert runs.is_overstayed(backend, 1, run.attempt)


def test_a_process_that_freezes_a_promised_machine_may_take_its_time(backend, run, age):
    with backend.transaction() as session:
        promised = {
            "runner": "host-1",
            "expires": func.now() + timedelta(hours=1),
            "sealed_key": b"key",
        }
        session.execute(insert(KeptMachine).values(job_id=1, **promised))
    finish(backend, run, JobStatus.FAILED)
    age(LATE)
    assert not runs.is_overstayed(backend, 1, run.attempt)
