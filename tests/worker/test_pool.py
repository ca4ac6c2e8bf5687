"""A real RQ worker on a real Redis, forking real work horses; only their machines are fake."""

import subprocess
import sys

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from buildsrht import queue
from buildsrht.models import JobStatus
from tests.worker.fakes import same_backend
from tests.worker.outcome import assert_nothing_is_left, outcome_of

# Works until the queue is empty. Work horses are forked, so they inherit the fake machine.
WORKER = """
from rq.serializers import JSONSerializer
from buildsrht import config, queue
from buildsrht.backend import open_redis
from tests.worker.fakes import fake_boot
from worker import run_job
from worker.pool import JobWorker

run_job.boot_image = fake_boot
redis = open_redis(config.load().redis.url)
JobWorker([queue.NAME], connection=redis, serializer=JSONSerializer).work(burst=True)
"""

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
    sent = Queue(queue.NAME, connection=backend.redis, serializer=JSONSerializer)
    [waiting] = sent.jobs
    assert (waiting.func_name, waiting.args) == ("worker.run_job.run_job", [job.id])
    assert waiting.data.startswith((b"x\x9c", b"["))
