"""What every test may ask for: real servers, a clean backend, and users, tokens and jobs on it.

PostgreSQL and Redis run once for the whole session. Each test that uses `backend`, directly or
not, finds them empty, and has a storage directory of its own.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from secrets import token_hex

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, text
from werkzeug.test import TestResponse

from buildsrht import config as settings
from buildsrht import database, embedded, serving
from buildsrht.app import create_app
from buildsrht.backend import Backend, open_backend
from buildsrht.config import Config
from buildsrht.keys import make_missing
from buildsrht.logs import Logs, LogWriter, spool_chunks, spool_marks
from buildsrht.models import Artifact, Base, Job, JobStatus, User
from buildsrht.services import artifacts, jobs, sign_ins, tokens
from buildsrht.services.scopes import SCOPES
from buildsrht.services.users import ensure_user
from buildsrht.storage import open_storage
from tests.browser import Browser
from tests.build_host import claim, finish
from tests.s3_server import BUCKET, S3Server, s3_server

RECIPES = {
    "debian/bookworm": "{aliases: [debian/oldstable], arches: [amd64]}",
    "debian/trixie": "{aliases: [debian, debian/stable], arches: [amd64, arm64]}",
}
RUNNER = "host-1"

# TRUNCATE makes new files for every table and index. For a few rows this is thirty times faster.
_EMPTY = "".join(
    f'DELETE FROM "{table}"; SELECT setval(\'"{table}_id_seq"\', 1, false);'
    for table in reversed(Base.metadata.sorted_tables)
)


def pytest_configure() -> None:
    """Ctrl-C and a line that hangs up mean what they usually do to what tests start, also where the
    shell that runs the tests in the background, or nohup, has them ignored."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """What a case is called has to be the same in each process of a run. Bytes are made anew in
    each, with the time of the day in an archive, say."""
    return argname if isinstance(val, bytes) else None


# --- servers ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """A configuration whose PostgreSQL and Redis run, with our tables."""
    var = tmp_path_factory.mktemp("var")
    config = settings.load({"VAR": str(var)})
    with (
        embedded.postgres(config.embedded_postgres, durable=False),
        embedded.redis(config.embedded_redis),
    ):
        database.init(config)
        make_missing(config.keys.path)
        yield replace(config, images=replace(config.images, recipes=_write_recipes(var)))


def _write_recipes(var: Path) -> Path:
    for name, description in RECIPES.items():
        path = var / "recipes" / name / "image.yml"
        path.parent.mkdir(parents=True)
        path.write_text(description)
    return var / "recipes"


@pytest.fixture(scope="session")
def connected(servers: Config) -> Iterator[Backend]:
    """One set of connections for all tests. Use `backend`, which is clean."""
    backend = open_backend(servers)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that speaks S3, with a bucket that tests share: each has a prefix of its own."""
    with s3_server(tmp_path_factory.mktemp("s3") / "swift") as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture
def config(servers: Config, tmp_path: Path) -> Config:
    """The configuration of one test: storage and work are in its own directory."""
    return replace(
        servers,
        storage=replace(servers.storage, path=tmp_path / "storage"),
        worker=replace(servers.worker, path=tmp_path / "work"),
        ssh=replace(servers.ssh, path=tmp_path / "kept"),
    )


def clean(connected: Backend) -> None:
    """Leave nothing in the database and in Redis."""
    with connected.transaction() as session:
        session.execute(text(_EMPTY))
    connected.redis.flushdb()


@pytest.fixture
def backend(connected: Backend, config: Config) -> Backend:
    """A backend with nothing in it."""
    clean(connected)
    storage = open_storage(config.storage)
    return replace(
        connected,
        config=config,
        storage=storage,
        logs=Logs(connected.redis, storage, connected.engine),
    )


@pytest.fixture(scope="session")
def connected_app(connected: Backend) -> Flask:
    """One application for all tests, because its routes take long to compile. Use `app`."""
    return create_app(connected)


@pytest.fixture
def app(connected_app: Flask, backend: Backend) -> Flask:
    serving.install(connected_app, backend)
    return connected_app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that sends no token. It numbers its requests all alike, so that the same answer is
    the same to the last header."""
    client = app.test_client()
    client.environ_base["HTTP_X_REQUEST_ID"] = "test"
    return client


# --- people -----------------------------------------------------------------------------------


@pytest.fixture
def make_user(backend: Backend) -> Callable[..., User]:
    def make(name: str, *, admin: bool = False) -> User:
        with backend.transaction() as session:
            user = ensure_user(session, name)
            user.admin = admin
            return user

    return make


@pytest.fixture
def owner(make_user) -> User:
    """Whose jobs they are, unless a test says otherwise."""
    return make_user("owner")


@pytest.fixture
def stranger(make_user) -> User:
    return make_user("stranger")


@pytest.fixture
def admin(make_user) -> User:
    return make_user("admin", admin=True)


@pytest.fixture
def token(backend: Backend) -> Callable[..., str]:
    """The text of a new token: `token(owner, "jobs:read")`; with all scopes if none is named."""

    def make(user: User, *scopes: str, **options) -> str:
        return tokens.create_token(backend, user.name, scopes or SCOPES, **options)

    return make


@pytest.fixture
def client_of(app: Flask, token) -> Callable[..., FlaskClient]:
    """A client that sends a token of this user, or none: `client_of(owner).get("/api/jobs")`."""

    def make(user: User | None, *scopes: str) -> FlaskClient:
        client = app.test_client()
        if user:
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token(user, *scopes)}"
        return client

    return make


@pytest.fixture
def browse(app: Flask, backend: Backend) -> Callable[..., Browser]:
    """A browser in which this user has signed in, or nobody: `browse(owner).open("/")`."""

    def make(user: User | None = None) -> Browser:
        browser = Browser(app)
        if user:
            browser.client.set_cookie("buildsrht", sign_ins.begin(backend, user))
        return browser

    return make


# --- jobs -------------------------------------------------------------------------------------


@pytest.fixture
def manifest() -> str:
    """The manifest of a job, unless a test says otherwise."""
    return "image: debian/trixie\ntasks:\n- build: make\n- test: make check\n"


@pytest.fixture
def submit(client_of, owner: User, manifest: str) -> Callable[..., TestResponse]:
    """Submit over HTTP: `submit(note="hello", headers=...)`; returns the response."""
    client = client_of(owner)

    def post(headers: dict[str, str] | None = None, **fields) -> TestResponse:
        body = {"manifest": manifest, **fields}
        return client.post("/api/jobs", json=body, headers=headers)

    return post


@pytest.fixture
def make_job(backend: Backend, owner: User, manifest: str) -> Callable[..., Job]:
    """A job in any state: `make_job("running", visibility=Visibility.PRIVATE)`."""

    def make(
        status: str = "queued", *, user: User = owner, manifest: str = manifest, **fields
    ) -> Job:
        plan = jobs.read_manifest(backend.catalogue, manifest)
        submission = jobs.Submission(plan, execute=status != "pending", **fields)
        job = jobs.submit(backend, user, submission)
        _bring_to(backend, job.id, JobStatus(status))
        return _fetch(backend, job.id)

    return make


@pytest.fixture
def copies_of(backend: Backend) -> Callable[[Job, int], None]:
    """So many more jobs like that one, in the database only."""
    copied = "owner_id, manifest, image, arch, tags, visibility, secrets, status, queued"

    def copy(job: Job, count: int) -> None:
        statement = f"INSERT INTO job ({copied}) SELECT {copied} FROM job, generate_series(1, :n)"
        with backend.transaction() as session:
            session.execute(text(f"{statement} WHERE id = :id"), {"n": count, "id": job.id})

    return copy


@pytest.fixture
def limited(backend: Backend) -> Callable[..., Backend]:
    """The backend with other limits: `limited(user_jobs=1)`."""

    def make(**limits: int) -> Backend:
        config = replace(backend.config, limits=replace(backend.config.limits, **limits))
        return replace(backend, config=config)

    return make


@pytest.fixture
def uncounted(app: Flask, limited: Callable[..., Backend]) -> None:
    """No answer says how many more there may be, so that two are the same."""
    serving.install(app, limited(requests=None))


def _bring_to(backend: Backend, job_id: int, status: JobStatus) -> None:
    if status in (JobStatus.PENDING, JobStatus.QUEUED):
        return
    run = claim(backend, job_id, RUNNER)
    if run and status.is_final:
        finish(backend, run, status)


@pytest.fixture
def fetch(backend: Backend) -> Callable[[int], Job]:
    """A job as it is in the database now."""
    return lambda job_id: _fetch(backend, job_id)


def _fetch(backend: Backend, job_id: int) -> Job:
    with backend.transaction() as session:
        return session.get_one(Job, job_id)


@pytest.fixture
def write_log(backend: Backend, tmp_path: Path) -> Callable[..., LogWriter]:
    """Write to a log as a build host does: `write_log(job, "build", b"...", seal=True)`.

    Without a task it is the setup log. Returns the writer, for more.
    """

    def write(job: Job, task: str | None, data: bytes, *, seal: bool = False) -> LogWriter:
        name = jobs.log_name(job, task)
        writer = LogWriter(backend.logs, name, job.attempt, tmp_path / f"{job.id}-{task}.spool")
        writer.write(data)
        if seal:
            with backend.transaction() as session:
                chunks = spool_chunks(writer.spool)
                backend.logs.seal(session, name, job.attempt, chunks, spool_marks(writer.spool))
            backend.logs.drop_live(name)
        return writer

    return write


@pytest.fixture
def keep_artifact(backend: Backend) -> Callable[..., Artifact]:
    """An artifact of a job in any state: `keep_artifact(job, "out.txt", b"...")`."""

    def keep(job: Job, path: str = "/home/build/out.txt", data: bytes = b"made") -> Artifact:
        kept = Artifact(
            job_id=job.id,
            path=path,
            name=PurePosixPath(path).name,
            secret=token_hex(8),
            expires=datetime.now(UTC) + timedelta(days=90),
        )
        kept.size, kept.sha256 = backend.storage.put(artifacts.storage_key(kept), [data])
        with backend.transaction() as session:
            session.add(kept)
        return kept

    return keep


@pytest.fixture
def row_counts(backend: Backend) -> Callable[[], dict[str, int]]:
    """How many rows each table has, for "and nothing was stored"."""

    def count() -> dict[str, int]:
        with backend.transaction() as session:
            return {
                name: session.scalar(select(func.count()).select_from(table))
                for name, table in Base.metadata.tables.items()
            }

    return count
