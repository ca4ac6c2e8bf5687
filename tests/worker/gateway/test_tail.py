"""`tail`: a job's logs, to its end."""

import pytest
from redis.exceptions import RedisError

from buildsrht.logs import Logs
from buildsrht.models import Visibility
from worker.gateway import commands


def test_a_job_that_is_over_is_printed_whole(ssh, make_job, build_host):
    job = make_job("queued")
    host = build_host(job.id)
    host.write(None, "setting up\n")
    for task in ("build", "test"):
        host.start(task)
        host.write(task, f"{task}ing\n")
        host.end(task)
    host.finish("success")

    done = ssh("tail", str(job.id))

    assert (done.returncode, done.stdout) == (0, b"setting up\nbuilding\ntesting\n")
    assert done.stderr.decode() == (
        f"== setup\n== task build\n== task test\njob {job.id}: success\n"
    )


def test_a_job_that_waits_says_so_and_is_followed_to_its_end(ssh, make_job, build_host):
    job = make_job("queued")
    client = ssh.start("tail", str(job.id))
    assert client.stderr.readline().decode() == f"job {job.id} is queued\n"
    host = build_host(job.id)
    seen = []
    for line in ("one\n", "two\n"):
        host.write(None, line)
        seen.append(client.stdout.readline())
    host.start("build")
    host.write("build", "three, unfinished")
    seen.append(client.stdout.read(17))
    host.end("build", "failed")
    host.write(None, "a last word\n")
    host.finish("failed")

    rest, errors = client.communicate(timeout=30)

    assert seen == [b"one\n", b"two\n", b"three, unfinished"]
    assert (client.returncode, rest) == (1, b"a last word\n")
    assert errors.decode() == f"== setup\n== task build\n== setup\njob {job.id}: failed\n"


def test_a_long_log_comes_whole(ssh, make_job, write_log, build_host):
    job = make_job("queued")
    log = b"".join(b"line %d\n" % number for number in range(200_000))
    host = build_host(job.id)
    host.write(None, log.decode())
    host.finish("success")

    assert ssh("tail", str(job.id)).stdout == log


def test_a_redis_that_is_away_for_a_moment_costs_time_and_no_byte(
    ssh, make_job, build_host, monkeypatch
):
    job = make_job("queued")
    host = build_host(job.id)
    host.write(None, "setting up\n")
    host.start("build")
    host.write("build", "building\n")
    host.finish("failed")
    view, failures = Logs.view, [RedisError("Connection refused"), OSError("no such file")]

    def away_at_first(logs, session, name):
        if name.task_id and failures:
            raise failures.pop()
        return view(logs, session, name)

    monkeypatch.setattr(Logs, "view", away_at_first)
    monkeypatch.setattr(commands, "PAUSE_SECONDS", 0.01)

    assert ssh("tail", str(job.id)).stdout == b"setting up\nbuilding\n"
    assert failures == []


def test_a_service_that_stays_away_is_said_to_be(ssh, make_job, monkeypatch):
    def away(*_):
        raise RedisError("Connection refused")

    job = make_job("running")
    monkeypatch.setattr(Logs, "view", away)
    monkeypatch.setattr(commands, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(commands, "PAUSE_SECONDS", 0.01)

    done = ssh("tail", str(job.id))

    assert done.returncode == 1
    assert done.stderr == b"the service cannot answer now; try again in a moment\n"


@pytest.mark.parametrize("status", ["failed", "timeout", "cancelled"])
def test_a_job_that_did_not_succeed_is_status_1(ssh, make_job, status):
    job = make_job(status)

    done = ssh("tail", str(job.id))

    assert (done.returncode, done.stderr) == (1, f"job {job.id}: {status}\n".encode())


def test_whoever_may_see_a_job_may_read_its_log(make_client, stranger, make_job):
    job = make_job("success")

    assert make_client(stranger)("tail", str(job.id)).returncode == 0


def test_a_job_that_is_private_or_not_there_is_told_alike(make_client, stranger, make_job):
    job = make_job("success", visibility=Visibility.PRIVATE)
    client = make_client(stranger)

    done = [client("tail", str(number)) for number in (job.id, 4711)]

    assert [(one.returncode, one.stderr.decode()) for one in done] == [
        (1, f"there is no job {number}\n") for number in (job.id, 4711)
    ]
