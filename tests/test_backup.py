"""A backup by the very commands of docs/operating.md, made while jobs are submitted and run, and
the service that is restored from it in another place."""

import hashlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import dedent

import httpx
import pytest
from sqlalchemy import NullPool, create_engine, func, make_url, select

from buildsrht import config as settings
from buildsrht import database, processes
from buildsrht.backend import Backend, open_backend
from buildsrht.checks import Verdict, service
from buildsrht.config import Config
from buildsrht.keys import make_missing
from buildsrht.models import Artifact, Fault, Job, JobStatus, Log, SecretKind, User
from buildsrht.services import jobs, sealing, tokens
from buildsrht.services.secrets import NewSecret, create_secret
from buildsrht.services.users import ensure_user
from tests.build_host import BuildHost
from tests.buildsrht.cli.program import environment, start
from tests.whole_service import free_port

PAGE = Path(__file__).parent.parent / "docs" / "operating.md"
MANIFEST = "image: debian/trixie\ntasks:\n- build: make\n"
SECONDS = 60
LEASE_SECONDS = 2


def commands(name: str) -> str:
    """The block of the page that is marked so."""
    found = re.search(rf"<!-- {name} -->\n *```sh\n(.*?)\n *```\n", PAGE.read_text(), re.DOTALL)
    assert found
    return dedent(found[1])


@dataclass(frozen=True)
class Place:
    """A service of its own: a database, a Redis database, and directories."""

    config: Config
    file: Path

    @property
    def variables(self) -> dict[str, str]:
        """What the commands of the page speak of."""
        url = make_url(self.config.database.url).set(drivername="postgresql")
        return {
            "STORAGE": str(self.config.storage.path),
            "KEYS": str(self.config.keys.path),
            "DATABASE": url.render_as_string(hide_password=False),
            "BUILDSRHT_CONFIG": str(self.file),
        }

    def run(self, name: str, **more: str) -> None:
        """The commands of the page, as an operator runs them here."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands(name)],
            env={**os.environ, **self.variables, **more},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture
def make_place(servers: Config, tmp_path: Path) -> Callable[[str, int], Place]:
    def make(name: str, redis: int) -> Place:
        url = make_url(servers.database.url)
        with create_engine(
            url, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        ).connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        var, file = tmp_path / name, tmp_path / f"{name}.ini"
        file.write_text(
            dedent(f"""
            [DEFAULT]
            var = {var}
            [web]
            port = {free_port()}
            [database]
            url = {url.set(database=name).render_as_string(hide_password=False)}
            [redis]
            url = {servers.redis.url.replace("db=0", f"db={redis}")}
            [images]
            recipes = {servers.images.recipes}
            [worker]
            name = host-1
            lease = {LEASE_SECONDS}s
            """)
        )
        var.mkdir()
        return Place(settings.load({"BUILDSRHT_CONFIG": str(file)}), file)

    return make


@contextmanager
def opened(place: Place) -> Iterator[Backend]:
    backend = open_backend(place.config)
    backend.redis.flushdb()
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def running(place: Place, *parts: str) -> Iterator[None]:
    """These parts of the service, as processes of their own."""
    variables = environment(BUILDSRHT_CONFIG=str(place.file))
    with ExitStack() as stack:
        for part in parts:
            process = start(part, env=variables, start_new_session=True, stderr=None)
            stack.callback(processes.stop, process, 15, SECONDS)
        yield


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- what there is before -------------------------------------------------------------------------


def submit(backend: Backend, user: User) -> int:
    plan = jobs.read_manifest(backend.catalogue, MANIFEST)
    return jobs.submit(backend, user, jobs.Submission(plan)).id


def run_to_its_end(backend: Backend, job_id: int) -> None:
    host = BuildHost(backend, job_id)
    host.write(None, "Starting.\n")
    host.start("build")
    host.write("build", f"Job {job_id}.\n" * 100)
    host.end("build")
    host.keep("/home/build/out.bin", os.urandom(20_000))
    host.finish()


@contextmanager
def under_load(backend: Backend, user: User) -> Iterator[Callable[[], int]]:
    """Jobs are submitted, and run and kept, one after the other, until the block ends. Yields how
    many are over."""
    stop, done, failures = threading.Event(), count(), []
    finished = [0]

    def work() -> None:
        try:
            while not stop.is_set():
                run_to_its_end(backend, submit(backend, user))
                finished[0] = next(done) + 1
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: finished[0]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_service_that_is_restored_has_what_the_backup_promises(make_place, tmp_path):
    old = make_place("before", 1)
    database.init(old.config)
    make_missing(old.config.keys.path)
    copies = {"BACKUP": str(tmp_path / "backup"), "KEYS_BACKUP": str(tmp_path / "kept-apart")}
    (tmp_path / "kept-apart").mkdir()

    with opened(old) as backend:
        with backend.transaction() as session:
            user = ensure_user(session, "ann")
        create_secret(backend, "ann", NewSecret(SecretKind.FILE, b"plain", path="~/x"))
        token = tokens.create_token(backend, "ann", ["jobs:read"])
        with_task, without_task, waiting = (submit(backend, user) for _ in range(3))
        BuildHost(backend, with_task).start("build")
        BuildHost(backend, without_task)
        with under_load(backend, user) as over:
            wait_until(lambda: over() >= 5)
            old.run("backup", **copies)
            at_backup = over()
            wait_until(lambda: over() >= at_backup + 5)
        with backend.transaction() as session:
            all_there_were = session.scalar(select(func.count()).select_from(Job))

    new = make_place("after", 2)
    new.run("restore", **copies)

    found = list(service.check(new.config, ["web", "courier"]))
    assert [each for each in found if each.verdict != Verdict.GOOD] == []
    with opened(new) as backend, running(new, "web", "janitor"):
        with backend.transaction() as session:
            restored = session.scalar(select(func.count()).select_from(Job))
            assert all(sealing.try_samples(session, backend.keys).values())
        # Not a copy of the end, nor of the beginning.
        assert 8 <= restored < all_there_were

        wait_until(lambda: status(backend, with_task) == JobStatus.FAILED)
        wait_until(lambda: status(backend, without_task) == JobStatus.QUEUED)
        assert fault(backend, with_task) == Fault.SERVICE
        assert status(backend, waiting) == JobStatus.QUEUED
        wait_until(lambda: {waiting, without_task} <= announced(backend))
        check_bytes(backend)
        check_answers(new, token, restored)
        run_to_its_end(backend, waiting)
        assert status(backend, waiting) == JobStatus.SUCCESS
        assert submit(backend, user) > restored


def status(backend: Backend, job_id: int) -> JobStatus:
    with backend.transaction() as session:
        return session.get_one(Job, job_id).status


def fault(backend: Backend, job_id: int) -> Fault | None:
    with backend.transaction() as session:
        return session.get_one(Job, job_id).fault


def announced(backend: Backend) -> set[int]:
    """The jobs for which a slot would be woken."""
    keys = backend.redis.keys("rq:queue:*")
    entries = [entry for key in keys for entry in backend.redis.lrange(key, 0, -1)]
    found = (re.match(rb"job-(\d+)", entry) for entry in entries)
    return {int(match[1]) for match in found if match}


def check_bytes(backend: Backend) -> None:
    """Whatever a row names is in storage, as the row says."""
    with backend.transaction() as session:
        kept = session.scalars(select(Artifact)).all()
        sealed = session.scalars(select(Log)).all()
    assert len(kept) >= 5
    assert len(sealed) >= 2 * len(kept)
    stored = {path for path in backend.config.storage.path.rglob("*") if path.is_file()}
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in stored}
    assert {row.sha256 for row in (*kept, *sealed)} <= digests


def check_answers(place: Place, token: str, restored: int) -> None:
    """The API serves each job, and of each that is over its log and its artifact."""
    client = httpx.Client(
        base_url=place.config.web.origin, headers={"Authorization": f"Bearer {token}"}
    )
    wait_until(lambda: is_healthy(client))
    for job_id in range(1, restored + 1):
        job = client.get(f"/api/jobs/{job_id}").json()
        assert job["id"] == job_id
        if job["status"] != "success":
            continue
        (task,) = job["tasks"]
        assert client.get(task["log"]).text == f"Job {job_id}.\n" * 100
        (artifact,) = client.get(f"/api/jobs/{job_id}/artifacts").json()["results"]
        assert len(client.get(artifact["url"]).content) == artifact["size"] == 20_000


def is_healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_what_goes_while_a_backup_is_made_is_in_it(make_place, tmp_path):
    """An artifact whose time is over goes between the dump and the second copy of storage."""
    old = make_place("before", 1)
    make_missing(old.config.keys.path)
    database.init(old.config)
    (tmp_path / "kept-apart").mkdir()
    copies = {"BACKUP": str(tmp_path / "backup"), "KEYS_BACKUP": str(tmp_path / "kept-apart")}
    programs = tmp_path / "programs"
    programs.mkdir()
    with opened(old) as backend:
        backend.storage.put("jobs/1/artifacts/a", [b"made"])
    victim = old.config.storage.path / "jobs/1/artifacts/a"
    fake = f'#!/bin/sh\n/usr/bin/pg_dump "$@" && rm {victim}\n'
    (programs / "pg_dump").write_text(fake)
    (programs / "pg_dump").chmod(0o755)

    old.run("backup", **copies, PATH=f"{programs}:{os.environ['PATH']}")

    assert not victim.exists()
    assert (tmp_path / "backup/storage/jobs/1/artifacts/a").read_bytes() == b"made"
