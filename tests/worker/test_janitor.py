"""What a crash leaves behind, and that the janitor clears exactly that away."""

import os
import pwd
import signal
import subprocess
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from buildsrht import processes
from buildsrht.logs import LogName
from buildsrht.models import (
    AuthorizationCode,
    Delivery,
    DeliveryStatus,
    Duty,
    Forge,
    Job,
    JobStatus,
    Push,
    PushStatus,
    Runner,
    RunnerState,
    SignIn,
    Tree,
)
from buildsrht.services import deletion, duties, grants, history, hooks, jobs, runs, sign_ins, trees
from buildsrht.services.clients import COMMAND_LINE
from buildsrht.storage import StorageError
from tests.archives import archive
from tests.build_host import claim, finish
from tests.worker.conftest import replace_in
from tests.worker.fakes import fake_boot, perform, work_horse
from tests.worker.outcome import assert_nothing_is_left, outcome_of, read_log, sealed_logs
from worker import intake, janitor
from worker.directories import OWNER, owned_directory
from worker.logbook import Logbook
from worker.processes import start_time

DEAD = "1 0\n"  # process 1 never started at tick 0


@pytest.fixture
def crashed(backend, make_job):
    """A run whose process died in the middle of its first task; returns its job and directory."""
    job = make_job()
    run = claim(backend, job.id, backend.config.worker.name)
    directory = backend.config.worker.path / f"{job.id}-{run.attempt}"
    directory.mkdir(parents=True)
    (directory / OWNER).write_text(DEAD)
    logbook = Logbook(backend, job.id, run.attempt, directory)
    logbook.say("setting up")
    runs.move_run_task(backend, run, job.tasks[0].id, "running")
    logbook.start_task(job.tasks[0].id)
    logbook.write(b"half a lin")
    return job, directory


def test_the_job_of_a_dead_process_fails_and_its_log_says_so(backend, crashed):
    job, _ = crashed
    janitor.sweep_host(backend)
    outcome = outcome_of(backend, job.id)
    assert (outcome.status, outcome.tasks["build"]) == (JobStatus.FAILED, "failed")
    runner = backend.config.worker.name
    assert outcome.logs["build"] == f"half a lin\nThe process that ran this job on {runner} died.\n"
    assert outcome.setup_log == "setting up\n"


def test_why_it_failed_is_with_its_end(backend, crashed, fetch):
    janitor.sweep_host(backend)
    with backend.transaction() as session:
        [*_, end] = history.transitions_of(session, [fetch(1)])[1]
    runner = backend.config.worker.name
    assert end.cause == f"The process that ran this job on {runner} died."


@pytest.fixture
def unwritten(backend, make_job):
    """A second attempt whose process died before it had a spool; returns its job."""
    job = make_job()
    with backend.transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(attempt=1))
    run = claim(backend, job.id, backend.config.worker.name)
    assert run.attempt == 2
    backend.logs.keep_earlier(LogName(job.id, None), b"the first attempt\n", b"")
    directory = backend.config.worker.path / f"{job.id}-{run.attempt}"
    directory.mkdir(parents=True)
    (directory / OWNER).write_text(DEAD)
    return job


def test_what_was_written_before_outlives_an_attempt_that_wrote_nothing(backend, unwritten, fetch):
    janitor.sweep_host(backend)
    assert fetch(unwritten.id).status == JobStatus.QUEUED
    kept, _ = backend.logs.earlier(LogName(unwritten.id, None))
    assert kept.startswith(b"the first attempt\n")


def test_the_last_attempt_that_wrote_nothing_has_a_log_that_says_why(backend, unwritten):
    once_more = replace_in(backend.config, "worker", attempts=2)
    janitor.sweep_host(replace(backend, config=once_more))
    outcome = outcome_of(backend, unwritten.id)
    assert outcome.status == JobStatus.FAILED
    assert outcome.setup_log.startswith("the first attempt\n")
    assert outcome.setup_log.endswith("died.\n")


def test_a_sweep_that_has_to_be_repeated_says_it_once(backend, crashed, monkeypatch):
    job, _ = crashed
    with monkeypatch.context() as away:
        away.setattr(backend.storage, "put", lambda *_: 1 / 0)
        janitor.sweep_host(backend)
    janitor.sweep_host(backend)
    assert outcome_of(backend, job.id).logs["build"].count("died.") == 1


def test_its_logs_are_sealed_and_nothing_of_it_is_left(backend, crashed):
    janitor.sweep_host(backend)
    assert sealed_logs(backend, crashed[0].id) == 2
    assert_nothing_is_left(backend)


def test_bytes_of_an_artifact_that_has_no_row_yet_are_removed(backend, crashed, keep_artifact):
    job, _ = crashed
    kept = keep_artifact(job, "kept", b"kept")
    backend.storage.put(f"artifacts/{job.id}/0123456789abcdef", [b"stray"])
    janitor.sweep_host(backend)
    janitor.sweep_service(backend)
    assert backend.storage.keys(f"artifacts/{job.id}/") == [f"artifacts/{job.id}/{kept.secret}"]


def test_bytes_of_an_attempt_that_goes_on_are_left_alone(backend, crashed, fetch):
    job, _ = crashed
    with backend.transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(attempt=2))
    backend.storage.put(f"artifacts/{job.id}/0123456789abcdef", [b"row to come"])
    janitor.sweep_host(backend)
    janitor.sweep_service(backend)
    assert backend.storage.keys(f"artifacts/{job.id}/") != []


def test_while_storage_is_away_what_is_to_be_removed_is_not_forgotten(
    backend, crashed, monkeypatch
):
    job, _ = crashed
    backend.storage.put(f"artifacts/{job.id}/0123456789abcdef", [b"stray"])
    janitor.sweep_host(backend)

    def away(*_):
        raise StorageError("the bucket does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(backend.storage, "delete", away)
        janitor.sweep_service(backend)
    assert backend.storage.keys(f"artifacts/{job.id}/") != []
    janitor.sweep_service(backend)
    assert backend.storage.keys(f"artifacts/{job.id}/") == []


def test_bytes_of_a_log_that_no_row_counts_are_removed(backend, crashed):
    job, _ = crashed
    backend.storage.put(f"logs/{job.id}/setup-01234567", [b"stray"])
    janitor.sweep_host(backend)
    janitor.sweep_service(backend)
    kept = backend.storage.keys(f"logs/{job.id}/")
    assert (len(kept), sealed_logs(backend, job.id)) == (4, 2)
    assert f"logs/{job.id}/setup-01234567" not in kept


def test_a_job_whose_owner_had_asked_to_cancel_it_ends_as_cancelled(backend, crashed, owner, fetch):
    job, _ = crashed
    jobs.cancel(backend, job.id, owner)
    janitor.sweep_host(backend)
    assert fetch(job.id).status == JobStatus.CANCELLED


def test_a_job_that_has_ended_stays_as_it_ended(backend, crashed, fetch):
    job, _ = crashed
    with backend.transaction() as session:
        runs.end_job(session, job.id, JobStatus.SUCCESS)
    janitor.sweep_host(backend)
    assert fetch(job.id).status == JobStatus.SUCCESS
    assert_nothing_is_left(backend)


def test_a_later_attempt_at_the_same_job_is_left_alone(backend, crashed, fetch):
    job, _ = crashed
    with backend.transaction() as session:
        session.execute(update(Job).where(Job.id == job.id).values(attempt=2))
    janitor.sweep_host(backend)
    assert fetch(job.id).status == JobStatus.RUNNING


def test_a_process_that_outlived_its_run_is_killed(backend, crashed):
    _, directory = crashed
    command = ["bash", "-c", "echo; sleep 300; true", str(directory / "overlay.qcow2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as sleeper:
        # By then it has its command line.
        assert sleeper.stdout.readline() == b"\n"
        janitor.sweep_host(backend)
        assert sleeper.wait(10) == -signal.SIGKILL


@pytest.fixture
def hanging(backend, make_job):
    """A run in a process that does nothing, and would for minutes."""
    run = claim(backend, make_job().id, backend.config.worker.name)
    directory = backend.config.worker.path / f"{run.job_id}-{run.attempt}"
    directory.mkdir(parents=True)
    with subprocess.Popen(["sleep", "300"]) as process:
        (directory / OWNER).write_text(f"{process.pid} {start_time(process.pid)}\n")
        yield run, process, directory
        process.kill()


def long_ago(backend):
    with backend.transaction() as session:
        past = func.now() - runs.LEAVING - timedelta(seconds=1)
        session.execute(update(Job).values(updated=past))


def test_a_process_that_does_not_notice_that_its_job_is_over_is_killed(backend, hanging):
    run, process, directory = hanging
    finish(backend, run, JobStatus.CANCELLED)
    janitor.sweep_host(backend)
    assert process.poll() is None

    long_ago(backend)
    janitor.sweep_host(backend)
    assert process.wait(10) == -signal.SIGKILL
    assert not directory.exists()


def test_a_process_whose_job_is_its_own_is_left_alone(backend, hanging):
    _, process, directory = hanging
    long_ago(backend)
    janitor.sweep_host(backend)
    assert process.poll() is None
    assert directory.exists()


def test_a_directory_that_is_in_use_is_left_alone(backend):
    with owned_directory(backend.config.worker.path / "1-1") as directory:
        janitor.sweep_host(backend)
        assert directory.exists()


def test_a_directory_that_is_just_being_made_is_left_alone(backend):
    directory = backend.config.worker.path / "1-1"
    directory.mkdir(parents=True)
    janitor.sweep_host(backend)
    assert directory.exists()


def test_a_work_horse_that_is_killed_leaves_nothing_and_fails_its_job(backend, make_job, tmp_path):
    """The whole of it: SIGKILL in the middle of a task, then one sweep."""
    job = make_job(manifest="image: debian/trixie\ntasks: [{build: echo begun; sleep 300}]")
    with work_horse(backend, job.id, tmp_path) as horse:
        wait_for_log(backend, job, b"\nbegun")
        agent = next(iter(janitor.pids_naming(str(backend.config.worker.path))))
        horse.kill()
    assert processes.has_ended(agent, wait_seconds=10)
    janitor.sweep_host(backend)
    outcome = outcome_of(backend, job.id)
    assert (outcome.status, outcome.tasks) == (JobStatus.FAILED, {"build": "failed"})
    assert "begun" in outcome.logs["build"]
    assert_nothing_is_left(backend)


def wait_for_log(backend, job, text):
    woken = threading.Event()
    for _ in range(2000):
        if text in read_log(backend, job.id, job.tasks[0].id):
            return
        woken.wait(0.01)
    raise AssertionError(f"{text!r} never came")


def test_one_that_cannot_be_cleared_away_does_not_keep_the_others_from_it(
    backend, crashed, fetch, make_job, monkeypatch
):
    job, directory = crashed
    stuck = directory.with_name("0-1")
    stuck.mkdir()
    (stuck / OWNER).write_text(DEAD)
    end_run = janitor._end_run

    def end_run_unless_stuck(backend, job_id, *rest):
        if job_id == 0:
            raise RuntimeError("nobody foresaw this")
        end_run(backend, job_id, *rest)

    monkeypatch.setattr(janitor, "_end_run", end_run_unless_stuck)
    janitor.sweep_host(backend)
    assert fetch(job.id).status == JobStatus.FAILED
    assert [path.name for path in backend.config.worker.path.iterdir()] == ["0-1"]


def test_the_run_of_a_job_that_is_no_longer_known_is_just_removed(backend):
    directory = backend.config.worker.path / "999-1"
    (directory / "spool").mkdir(parents=True)
    (directory / OWNER).write_text(DEAD)
    (directory / "spool" / "setup").write_text("nobody's\n")
    janitor.sweep_host(backend)
    assert_nothing_is_left(backend)


def test_what_was_stored_of_a_job_that_was_deleted_goes_with_its_run(backend, crashed, owner):
    job, directory = crashed
    with backend.transaction() as session:
        runs.end_abandoned(session, session.get_one(Job, job.id), "The build host was lost.")
    deletion.delete_job(backend, owner, job.id)
    janitor.sweep_service(backend)
    for key in (f"artifacts/{job.id}/0123456789abcdef", f"logs/{job.id}/setup"):
        backend.storage.put(key, [b"late"])
    janitor.sweep_host(backend)
    assert not directory.exists()
    assert backend.storage.keys("artifacts/") == backend.storage.keys("logs/") == []


def test_what_a_deleted_job_left_in_storage_is_erased(backend, make_job, owner, write_log):
    job = make_job("failed")
    write_log(job, "build", b"made\n", seal=True)
    deletion.delete_job(backend, owner, job.id)
    assert backend.storage.keys("logs/")
    janitor.sweep_service(backend)
    assert backend.storage.keys("logs/") == []


def test_what_a_killed_upload_had_begun_is_removed(backend, crashed):
    job, _ = crashed
    begun = backend.config.storage.path / f"artifacts/{job.id}/0123456789abcdef#1"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"half")
    janitor.sweep_host(backend)
    janitor.sweep_service(backend)
    assert not begun.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as somebody else")
def test_a_process_of_another_user_is_not_ours_to_kill(crashed):
    _, directory = crashed
    nobody = pwd.getpwnam("nobody").pw_uid
    command = ["bash", "-c", "sleep 300; true", f"{directory}/x"]
    with subprocess.Popen(command, user=nobody) as stranger:
        assert janitor.pids_naming(f"{directory}/") == []
        stranger.kill()


# --- the whole service ----------------------------------------------------------------------------


def test_a_tree_that_no_job_came_to_name_is_removed(backend, owner):
    trees.keep_tree(backend, owner, "hello", [archive({"a": b""})])
    with backend.transaction() as session:
        session.execute(update(Tree).values(expires=Tree.created))
    janitor.sweep_service(backend)
    assert backend.storage.keys("trees/") == []


def test_a_job_that_redis_forgot_is_queued_again_and_runs_once(backend, make_job):
    job = make_job(manifest="image: debian/trixie\ntasks: [{build: echo once}]")
    backend.redis.flushall()
    make_queued_long_ago(backend, job.id)
    janitor.sweep_service(backend)
    janitor.sweep_service(backend)
    assert backend.queue.enqueued_ids() == {job.id}
    perform(backend, job.id, fake_boot)
    assert outcome_of(backend, job.id).status == JobStatus.SUCCESS


def make_queued_long_ago(backend, job_id):
    from datetime import UTC, datetime, timedelta

    with backend.transaction() as session:
        past = datetime.now(UTC) - timedelta(minutes=1)
        session.execute(update(Job).where(Job.id == job_id).values(queued=past))


def test_what_triggers_ask_for_is_queued_again_when_redis_forgot_it(backend, make_job):
    hook = "{action: webhook, condition: always, url: https://example.org}"
    make_job("success", manifest=f"image: debian/trixie\ntasks: [{{a: b}}]\ntriggers: [{hook}]")
    backend.redis.flushall()
    janitor.sweep_service(backend)
    assert backend.deliveries.enqueued_ids() == {1}


def test_a_duty_that_fails_keeps_no_other_from_being_done(backend, make_job, monkeypatch):
    def fail(backend):
        raise RuntimeError("nobody foresaw this")

    fail.__name__ = "finish_groups"
    monkeypatch.setattr(janitor.triggers, "finish_groups", fail)
    job = make_job()
    backend.redis.flushall()
    make_queued_long_ago(backend, job.id)
    janitor.sweep_service(backend)
    assert backend.queue.enqueued_ids() == {job.id}


def test_what_became_of_triggers_is_forgotten_when_its_time_is_over(backend, make_job, row_counts):
    hook = "{action: webhook, condition: always, url: https://example.org}"
    make_job("success", manifest=f"image: debian/trixie\ntasks: [{{a: b}}]\ntriggers: [{hook}]")
    with backend.transaction() as session:
        past = func.now() - timedelta(days=91)
        session.execute(update(Delivery).values(status=DeliveryStatus.DELIVERED, updated=past))
    janitor.sweep_service(backend)
    assert row_counts()["delivery"] == 0


def test_a_push_that_redis_forgot_is_queued_again(backend, monkeypatch):
    new = hooks.NewHook(Forge.GITHUB, "https://forge.example.org/ada/hello")
    hook, _ = hooks.create_hook(backend, "ada", new)
    push = hooks.receive(backend, hook, "first", {"updates": [], "request": None, "head": None})
    backend.redis.flushall()
    monkeypatch.setattr(hooks, "QUEUE_SETTLE", timedelta(0))
    janitor.sweep_service(backend)
    assert backend.pushes.enqueued_ids() == {push.id}


def test_a_push_of_long_ago_is_forgotten(backend, row_counts):
    new = hooks.NewHook(Forge.GITHUB, "https://forge.example.org/ada/hello")
    hook, _ = hooks.create_hook(backend, "ada", new)
    hooks.receive(backend, hook, "first", {"updates": [], "request": None, "head": None})
    with backend.transaction() as session:
        past = func.now() - timedelta(days=91)
        session.execute(update(Push).values(status=PushStatus.BUILT, updated=past))
    janitor.sweep_service(backend)
    assert row_counts()["push"] == 0


def test_sweeping_goes_on_until_it_is_stopped_and_survives_a_sweep_that_fails(
    backend, crashed, fetch, monkeypatch
):
    job, _ = crashed
    stop = threading.Event()

    def failing_once(backend):
        monkeypatch.undo()
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(janitor, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(janitor, "sweep_service", failing_once)
    thread = threading.Thread(target=janitor.keep_sweeping, args=(backend, stop))
    thread.start()
    while fetch(job.id).status == JobStatus.RUNNING and thread.is_alive():
        thread.join(0.01)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert fetch(job.id).status == JobStatus.FAILED


def test_the_host_says_how_it_is_and_again_soon_when_that_failed(backend, monkeypatch):
    stop = threading.Event()
    reports = []

    def failing_once(backend, name, facts):
        reports.append((name, facts["kept"]))
        if len(reports) == 1:
            raise RuntimeError("the database is away")
        stop.set()

    monkeypatch.setattr(janitor, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(janitor.runners, "report", failing_once)
    janitor.keep_sweeping(backend, stop)
    assert reports == [(backend.config.worker.name, 0)] * 2


def test_it_does_not_say_so_in_every_round(backend, monkeypatch):
    stop = threading.Event()
    done = []

    def third_time(backend):
        done.append("swept")
        if done.count("swept") == 3:
            stop.set()

    monkeypatch.setattr(janitor, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(janitor, "sweep_service", third_time)
    monkeypatch.setattr(janitor, "report", lambda _: done.append("reported"))
    janitor.keep_sweeping(backend, stop)
    assert done == ["swept", "reported", "swept", "swept"]


def test_what_programs_and_browsers_had_is_forgotten_when_it_has_expired(
    backend, owner, row_counts
):
    sign_ins.begin(backend, owner)
    grants.authorize(backend, owner, COMMAND_LINE, ["jobs:read"], "", "")
    janitor.sweep_service(backend)
    assert [row_counts()[table] for table in ("sign_in", "oauth_grant")] == [1, 1]

    with backend.transaction() as session:
        for kind in (SignIn, AuthorizationCode):
            session.execute(update(kind).values(expires=func.now() - timedelta(days=1)))
    janitor.sweep_service(backend)

    assert [row_counts()[table] for table in ("sign_in", "oauth_grant")] == [0, 0]


# One janitor of many, and what it is told


def swept_by(backend, stop_after):
    """Run a janitor until that holds."""
    stop = threading.Event()
    thread = threading.Thread(target=janitor.keep_sweeping, args=(backend, stop))
    thread.start()
    deadline = time.monotonic() + 30
    while not stop_after():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop.set()
    thread.join(30)


def test_what_one_janitor_does_for_all_another_does_not(backend, monkeypatch):
    swept = []
    monkeypatch.setattr(janitor, "sweep_host", lambda _: swept.append("host"))
    monkeypatch.setattr(janitor, "sweep_service", lambda _: swept.append("service"))
    monkeypatch.setattr(janitor, "SWEEP_SECONDS", 0.01)
    duties.hold(backend, duties.JANITOR, "another")
    swept_by(backend, lambda: swept.count("host") > 5)
    assert "service" not in swept

    with backend.transaction() as session:
        session.execute(update(Duty).values(until=func.now()))
    swept_by(backend, lambda: "service" in swept)


def test_a_host_that_is_drained_takes_nothing_until_it_is_active_again(backend):
    janitor.report(backend)
    for state, is_refused in (("draining", True), ("active", False)):
        with backend.transaction() as session:
            session.execute(update(Runner).values(state=RunnerState(state)))
        janitor.heed(backend)
        assert bool(intake.refusal(backend.config)) == is_refused
