"""A real RQ worker on a real Redis, forking real work horses; only their machines are fake."""

import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rq import Queue
from rq import Worker as RqWorker
from rq.serializers import JSONSerializer

from buildsrht import queue
from buildsrht.logs import LogName
from buildsrht.models import Fault, JobStatus
from buildsrht.services import dispatch
from tests.worker.fakes import same_backend
from tests.worker.outcome import assert_nothing_is_left, outcome_of
from worker import janitor

# Works until the queue is empty. Work horses are forked, so they inherit the fake machine.
WORKER = """
from rq.serializers import JSONSerializer
from buildsrht import config, queue
from buildsrht.backend import open_redis
from tests.worker.fakes import fake_boot
from worker import machines
from worker.pool import JobWorker

machines.start = fake_boot
redis = open_redis(config.load().redis.url)
JobWorker([queue.NAME], connection=redis, serializer=JSONSerializer).work(burst=True)
"""

# Two slots, which work until they are stopped.
POOL = """
import logging
from buildsrht import config
from buildsrht.backend import open_redis
from tests.worker.fakes import fake_boot
from worker import machines
from worker.pool import run_pool

logging.basicConfig(format="%(message)s")
machines.start = fake_boot
run_pool(open_redis(config.load().redis.url), 2)
"""

# RQ takes a signal that comes at once after another for the same.
RQ_SECONDS = 1.5

# From inside a task: its parent is the agent, and the agent's is the work horse.
KILL_WORK_HORSE = "kill -KILL $(ps -o ppid= -p $PPID); sleep 60"


@pytest.fixture
def work_off(backend, tmp_path):
    """Let a worker run every job that is queued."""

    def work() -> None:
        command = [sys.executable, "-c", WORKER]
        subprocess.run(command, env=same_backend(backend, tmp_path), check=True, timeout=120)

    return work


def manifest(script: str) -> str:
    return f"image: debian/trixie\ntasks: [{{build: '{script}'}}]\n"


def test_jobs_are_run_in_the_order_of_their_submission(backend, make_job, work_off):
    ids = [make_job(manifest=manifest(f"echo {n}")).id for n in range(3)]
    work_off()
    outcomes = [outcome_of(backend, job_id) for job_id in ids]
    assert [outcome.logs["build"] for outcome in outcomes] == [
        f"+ echo {n}\n{n}\n" for n in range(3)
    ]
    assert_nothing_is_left(backend)


def test_a_worker_whose_work_horse_was_killed_clears_up_and_goes_on(backend, make_job, work_off):
    killed = make_job(manifest=manifest(KILL_WORK_HORSE))
    following = make_job(manifest=manifest("echo fine"))
    work_off()
    assert outcome_of(backend, killed.id).status == JobStatus.FAILED
    assert outcome_of(backend, following.id).status == JobStatus.SUCCESS
    assert_nothing_is_left(backend)


def test_redis_keeps_nothing_of_a_job_that_is_over(backend, make_job, work_off):
    make_job(manifest=manifest("true"))
    make_job(manifest=manifest("false"))
    make_job(manifest=manifest(KILL_WORK_HORSE))
    work_off()
    assert [key for key in backend.redis.scan_iter() if b"job-" in key] == []


def test_what_travels_through_redis_is_json(backend, make_job):
    job = make_job()
    name = dispatch.route_of(job).queue
    sent = Queue(name, connection=backend.redis, serializer=JSONSerializer)
    [waiting] = sent.jobs
    assert (waiting.func_name, waiting.args) == ("worker.run_job.run_job", [job.id])
    assert waiting.data.startswith((b"x\x9c", b"["))


# Being stopped


@pytest.fixture
def pool(backend, tmp_path):
    """A pool of two slots, in a process of its own."""
    environ = same_backend(backend, tmp_path)
    with subprocess.Popen([sys.executable, "-c", POOL], env=environ) as process:
        wait_until(lambda: catches(process.pid, signal.SIGTERM))
        yield process
        process.kill()


def catches(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = re.findall(r"SigCgt:\s*([0-9a-f]+)", status)
    return int(caught, 16) >> (number - 1) & 1


def waits_for(path):
    return f"until test -e {path}; do sleep 0.1; done"


def test_a_pool_that_is_stopped_finishes_what_has_begun_and_gives_back_what_has_not(
    backend, make_job, fetch, pool, tmp_path
):
    # The second one is busy with its packages for as long as it is let.
    begun = make_job(manifest=manifest(waits_for(tmp_path / "finish")))
    preparing = make_job(
        manifest=manifest("true").replace("tasks", "packages: [never-comes]\ntasks")
    )
    wait_until(lambda: fetch(begun.id).tasks[0].status == "running")
    wait_until(lambda: fetch(preparing.id).status == "running")

    pool.send_signal(signal.SIGTERM)
    wait_until(lambda: fetch(preparing.id).status == "queued")
    assert fetch(begun.id).status == "running"
    late = make_job(manifest=manifest("true"))
    (tmp_path / "finish").touch()

    assert pool.wait(WAIT_SECONDS) == 0
    assert outcome_of(backend, begun.id).status == JobStatus.SUCCESS, outcome_of(backend, begun.id)
    assert [fetch(each.id).status for each in (preparing, late)] == ["queued", "queued"]
    log = b"".join(backend.logs.live_chunks(LogName(preparing.id, None)))
    assert b"This build host is being stopped, and gives the job back." in log


def test_a_second_signal_ends_what_runs(backend, make_job, fetch, pool, tmp_path):
    job = make_job(manifest=manifest(waits_for(tmp_path / "never")))
    wait_until(lambda: fetch(job.id).tasks[0].status == "running")
    pool.send_signal(signal.SIGTERM)
    time.sleep(RQ_SECONDS)
    pool.send_signal(signal.SIGTERM)
    assert pool.wait(WAIT_SECONDS) == 0
    janitor.sweep_host(backend)
    assert fetch(job.id).status == JobStatus.FAILED
    assert fetch(job.id).fault == Fault.SERVICE


# A disk that is short of room

DISK = "16m"
RESERVE = "disk_reserve = 8MiB\n"
FILLING = 12 * 2**20
WAIT_SECONDS = 60
# On a file system that only these processes see, and that is gone with the last of them.
ON_SMALL_DISK = f'mount -t tmpfs -o size={DISK} tmpfs "$0" && exec "$@"'
IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", ON_SMALL_DISK]


class Host:
    """A running pool whose jobs are on a small disk."""

    def __init__(self, backend, pool: subprocess.Popen[str]):
        self.pool = pool
        self.said: list[str] = []
        self._redis = backend.redis
        path = backend.config.worker.path
        self._filling = Path(f"/proc/{pool.pid}/root{path}/filling")
        wait_until(lambda: len(self._heard_of()) == 2)

    def fill(self) -> None:
        """Returns when no free slot is left that has not seen it."""
        self._filling.write_bytes(bytes(FILLING))
        self.wait_for("no job is started here")
        # The first may be the last word of one that looked before.
        self.wait_for_a_sign_of_each_free_slot()
        self.wait_for_a_sign_of_each_free_slot()

    def make_room(self) -> None:
        self._filling.unlink()
        self.wait_for("jobs are started again")

    def wait_for(self, text: str) -> None:
        for line in self.pool.stderr:
            self.said.append(line)
            if text in line:
                return
        raise AssertionError(f"the pool ended and never said {text!r}: {self.said}")

    def wait_for_a_sign_of_each_free_slot(self) -> None:
        now = datetime.now(UTC)
        wait_until(lambda: all(heard > now for heard in self._heard_of()))

    def _heard_of(self) -> list[datetime]:
        slots = RqWorker.all(connection=self._redis)
        return [slot.last_heartbeat for slot in slots if slot.get_state() != "busy"]

    def stop(self) -> int:
        self.pool.send_signal(signal.SIGTERM)
        self.said += self.pool.communicate(timeout=WAIT_SECONDS)[1].splitlines()
        return self.pool.returncode


def wait_until(condition) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def host(backend, tmp_path):
    disk = backend.config.worker.path
    disk.mkdir()
    tried = subprocess.run([*IN_NAMESPACE, disk, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no file system of our own may be mounted: {tried.stderr.strip()}")
    environ = same_backend(backend, tmp_path)
    with open(environ["BUILDSRHT_CONFIG"], "a") as file:
        file.write(RESERVE)
    command = [*IN_NAMESPACE, disk, sys.executable, "-c", POOL]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as pool:
        try:
            yield Host(backend, pool)
        finally:
            pool.kill()


def test_a_job_waits_in_the_queue_until_there_is_room_on_the_disk(backend, make_job, fetch, host):
    host.fill()
    job = make_job(manifest=manifest("echo fine"))
    host.wait_for_a_sign_of_each_free_slot()
    assert fetch(job.id).status == JobStatus.QUEUED
    assert backend.queue.enqueued_ids() == {job.id}
    assert backend.queue.slots() == queue.Slots(all=2, busy=0, paused=2)
    host.make_room()
    wait_until(lambda: fetch(job.id).status.is_final)
    assert fetch(job.id).status == JobStatus.SUCCESS
    wait_until(lambda: backend.queue.slots() == queue.Slots(all=2, busy=0, paused=0))


def test_the_log_says_once_that_the_disk_is_short_and_once_that_it_is_not(backend, host):
    host.fill()
    host.wait_for_a_sign_of_each_free_slot()
    host.make_room()
    host.wait_for_a_sign_of_each_free_slot()
    assert host.stop() == 0
    shortage = (
        "4.0 MiB free, below [worker] disk_reserve of 8.0 MiB; "
        "no job is started here until there is more"
    )
    expected = [
        f"{backend.config.worker.path}: {shortage}",
        f"{backend.config.worker.name}: jobs are started again",
    ]
    said = [line.strip() for line in host.said]
    assert [line for line in said if "is started" in line or "are started" in line] == expected


def test_a_job_that_runs_goes_on_while_the_disk_is_short(backend, make_job, fetch, host, tmp_path):
    finish = tmp_path / "finish"
    running = make_job(manifest=manifest(f"until test -e {finish}; do sleep 0.1; done"))
    wait_until(lambda: fetch(running.id).tasks[0].status == "running")
    host.fill()
    waiting = make_job(manifest=manifest("echo fine"))
    finish.touch()
    wait_until(lambda: fetch(running.id).status.is_final)
    host.wait_for_a_sign_of_each_free_slot()
    assert fetch(running.id).status == JobStatus.SUCCESS
    assert fetch(waiting.id).status == JobStatus.QUEUED


def test_a_worker_that_waits_for_the_disk_can_be_stopped(backend, make_job, fetch, host):
    host.fill()
    job = make_job(manifest=manifest("echo fine"))
    assert host.stop() == 0
    assert fetch(job.id).status == JobStatus.QUEUED
    assert backend.queue.enqueued_ids() == {job.id}
