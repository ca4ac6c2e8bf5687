"""What one short job costs: rows and bytes in the database, bytes in Redis and in storage, and,
with a real machine, processor time and memory.

Rows and bytes are those of many jobs divided by their number, run by hand as a build host runs
them: a machine changes nothing about them. Processor time and memory are a real service's, apart
for the servers and for the build host. What is used when nothing happens is taken off.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

from bench import processes
from bench.errors import MeasurementFailed
from bench.figures import Figures
from bench.manifests import TASK, TRIVIAL, TRIVIAL_LOG, manifest
from bench.place import Place
from bench.service import Service, running, without_worker
from bench.trivial import JOB_SECONDS, warm_up
from buildsrht.backend import Backend, open_backend
from buildsrht.logs import LogWriter
from buildsrht.models import Job, JobStatus, TaskStatus, User
from buildsrht.services import jobs, runs
from buildsrht.services.jobs import log_name
from buildsrht.services.runs import Run
from buildsrht.services.users import ensure_user
from worker.logbook import seal_spool

MANY = 2000
# Of these, as many wait or run at once.
WAITING = 500
REAL = 10
IDLE_SECONDS = 15
SETUP_LOG = b"Job 1 on build-1: starting debian/trixie (amd64).\nRunning task measured.\n"
HOST = "worker"
MEMORY_JOB = manifest("sleep 8")


def measure(place: Place) -> Figures:
    """All of it goes into `notes`: there is nothing to compare it with."""
    with without_worker(place, "rows") as service, closing(open_backend(service.config)) as backend:
        kept = _rows_and_bytes(backend)
    with running(place, "cost", workers=1, spares=0) as service:
        used = _processors_and_memory(service)
    return Figures(notes={"cost": {**kept, **used}})


# --- rows and bytes -------------------------------------------------------------------------------


def _rows_and_bytes(backend: Backend) -> dict[str, Any]:
    with backend.transaction() as session:
        user = ensure_user(session, "bench")
    plan = jobs.read_manifest(backend.catalogue, TRIVIAL)
    backend.redis.flushdb()
    empty = backend.redis.info("memory")["used_memory"]
    for _ in range(WAITING):
        jobs.submit(backend, user, jobs.Submission(plan))
    waiting = backend.redis.info("memory")["used_memory"] - empty
    backend.redis.flushdb()
    for job_id in range(1, WAITING + 1):
        _run(backend, job_id)

    before = _database(backend)
    stored = _storage(backend.config.storage.path)
    running = _run_many(backend, user, plan)
    after = _database(backend)
    rows = _grown(before, after, "rows")
    # Where nothing was written it is the server's housekeeping that takes up room.
    grown = {name: n for name, n in _grown(before, after, "bytes").items() if name in rows}
    return {
        "jobs": MANY,
        "rows": {name: round(n / MANY, 2) for name, n in rows.items()},
        "database_bytes": {name: round(n / MANY) for name, n in grown.items()},
        "database_bytes_in_all": round(sum(grown.values()) / MANY),
        "wal_bytes": round((after["wal"] - before["wal"]) / MANY),
        "commits": round((after["commits"] - before["commits"]) / MANY, 1),
        "redis_bytes_while_waiting": round(waiting / WAITING),
        "redis_bytes_of_live_logs": round(running),
        **{
            name: round((n - stored[name]) / MANY)
            for name, n in _storage(backend.config.storage.path).items()
        },
    }


def _run_many(backend: Backend, user: User, plan: Any) -> float:
    """Run them, and return the bytes that the logs of one have in Redis before they are sealed."""
    held = []
    for number in range(MANY):
        job = jobs.submit(backend, user, jobs.Submission(plan))
        backend.redis.delete(*backend.redis.keys("rq:*"))
        before = backend.redis.info("memory")["used_memory"]
        with _begun(backend, job.id) as (run, writers):
            if number < WAITING:
                held.append(backend.redis.info("memory")["used_memory"] - before)
            _end(backend, run, writers)
    return sorted(held)[len(held) // 2]


def _run(backend: Backend, job_id: int) -> None:
    with _begun(backend, job_id) as (run, writers):
        _end(backend, run, writers)


@contextmanager
def _begun(backend: Backend, job_id: int) -> Iterator[tuple[Run, list[LogWriter]]]:
    """A job that has written its logs, as its build host does it."""
    with backend.transaction() as session:
        run = runs.begin(backend, session, job_id, "build-1")
        names = [log_name(session.get_one(Job, job_id), task) for task in (None, TASK)]
    place = backend.config.worker.path / str(job_id)
    place.mkdir(parents=True)
    writers = [
        LogWriter(backend.logs, name, run.attempt, place / f"log-{at}")
        for at, name in enumerate(names)
    ]
    runs.move_run_task(backend, run, run.task_ids[TASK], TaskStatus.RUNNING)
    for writer, said in zip(writers, (SETUP_LOG, TRIVIAL_LOG), strict=True):
        writer.write(said)
    yield run, writers


def _end(backend: Backend, run: Run, writers: list[LogWriter]) -> None:
    for writer in reversed(writers):
        writer.close()
        seal_spool(backend, writer.name, run.attempt, writer.spool)
    runs.move_run_task(backend, run, run.task_ids[TASK], TaskStatus.SUCCESS)
    with backend.transaction() as session:
        runs.finish(session, run, JobStatus.SUCCESS)


def _database(backend: Backend) -> dict[str, Any]:
    """Rows and bytes, indexes and all, of each table, once what is dead was cleared away."""
    with backend.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
        names = connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).all()
        return {
            "rows": {
                name: connection.scalar(text(f'SELECT count(*) FROM "{name}"')) for name in names
            },
            "bytes": {
                name: connection.scalar(text(f"SELECT pg_total_relation_size('\"{name}\"')"))
                for name in names
            },
            "wal": connection.scalar(text("SELECT pg_current_wal_lsn() - '0/0'")),
            "commits": connection.scalar(
                text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
            ),
        }


def _grown(before: Mapping[str, Any], after: Mapping[str, Any], what: str) -> dict[str, int]:
    return {
        name: grown
        for name, now in sorted(after[what].items())
        if (grown := now - before[what][name]) > 0
    }


def _storage(path: Path) -> dict[str, int]:
    files = [each.stat() for each in path.rglob("*") if each.is_file()]
    return {
        "storage_files": len(files),
        "storage_bytes": sum(each.st_size for each in files),
        "storage_bytes_on_disk": sum(each.st_blocks * 512 for each in files),
    }


# --- processor time and memory --------------------------------------------------------------------


def _processors_and_memory(service: Service) -> dict[str, Any]:
    warm_up(service)
    warm_up(service)
    time.sleep(IDLE_SECONDS)
    idle = _cpu_per_second(service)
    begun, before = time.monotonic(), _cpu(service)
    with service.client() as client:
        for _ in range(REAL):
            client.await_success(client.submit(TRIVIAL), JOB_SECONDS, pause=0.25)
    seconds, after = time.monotonic() - begun, _cpu(service)
    used = {
        side: (after[side] - before[side] - idle[side] * seconds) / REAL
        for side in ("server", "host")
    }
    return {
        "real_jobs": REAL,
        "seconds_each": round(seconds / REAL, 2),
        "server_cpu_seconds": round(used["server"], 2),
        "host_cpu_seconds": round(used["host"], 2),
        "server_cpu_share_when_idle": round(idle["server"], 4),
        "host_cpu_share_when_idle": round(idle["host"], 4),
        **_memory(service),
    }


def _cpu_per_second(service: Service) -> dict[str, float]:
    before = _cpu(service)
    time.sleep(IDLE_SECONDS)
    after = _cpu(service)
    return {side: (after[side] - before[side]) / IDLE_SECONDS for side in before}


def _cpu(service: Service) -> dict[str, float]:
    """Seconds of processor time that each side has used, by processes that are over as well."""
    return {side: sum(processes.cpu_seconds(pid) for pid in pids) for side, pids in _sides(service)}


def _memory(service: Service) -> dict[str, Any]:
    """MB of each side, and how many of them a job adds on its host while it runs; the same of
    connections to PostgreSQL."""
    rest, connections = _resident(service), _connections(service)
    with service.client() as client:
        job = client.submit(MEMORY_JOB)
        client.await_first_byte(job, JOB_SECONDS)
        during, more_connections = _resident(service), _connections(service)
        client.await_success(job, JOB_SECONDS)
    return {
        "connections_when_idle": connections,
        "connections_of_a_job": more_connections - connections,
        "server_memory_mb": round(rest["server"]),
        "host_memory_mb_when_idle": round(rest["host"]),
        "host_memory_mb_of_a_job": round(during["host"] - rest["host"]),
    }


def _connections(service: Service) -> int:
    """All but the one that asks."""
    engine = create_engine(service.config.database.url, poolclass=NullPool)
    with engine.connect() as connection:
        counted = connection.scalar(
            text("SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'")
        )
    return int(counted or 0)


def _resident(service: Service) -> dict[str, float]:
    return {side: sum(map(processes.shared_memory, pids)) for side, pids in _sides(service)}


def _sides(service: Service) -> Iterator[tuple[str, list[int]]]:
    """The processes of the servers, and those of the build host's worker, machines included."""
    found: dict[str, list[int]] = {"server": [], "host": []}
    for child in processes.children(service.pid):
        words = " ".join(processes.command_line(child)).split()
        side = "host" if words[-1:] == [HOST] else "server"
        found[side] += [child, *processes.descendants(child)]
    if not found["host"]:
        raise MeasurementFailed("there is no worker")
    yield from found.items()
