"""Private PostgreSQL and Redis servers, for `buildsrht up` and for the tests.

`postgres()` and `redis()` run the distribution's own servers on a directory that holds all they
have: data, log, and a unix socket that nobody else may open. There is no TCP port and no password.
Leaving the block stops the server; if we are killed the kernel stops it, and the next start
recovers. A directory has one server at a time, and refuses a second.

Knows nothing of tables, queues or settings.
"""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg2
import redis as redis_client
from redis.backoff import NoBackoff
from redis.retry import Retry

from buildsrht import processes
from buildsrht.errors import OperatorError

DATABASE = ROLE = "buildsrht"
# Never listened on: it is the last part of the socket's name.
POSTGRES_PORT = 5432
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")

# What sockaddr_un has room for, less the NUL at its end.
SOCKET_PATH_BYTES = 107

START_SECONDS = 60
STOP_SECONDS = 30
# How long the servers of an owner that was killed may need to go down.
RELEASE_SECONDS = 15
POLL_SECONDS = 0.02
LOG_TAIL_LINES = 15


def postgres_url(directory: Path) -> str:
    """Where `postgres(directory)` answers, whether or not it runs."""
    host = quote(str(_postgres_socket(directory).parent))
    return f"postgresql+psycopg2://{ROLE}@/{DATABASE}?host={host}&port={POSTGRES_PORT}"


def redis_url(directory: Path) -> str:
    """Where `redis(directory)` answers, whether or not it runs."""
    return f"unix://{quote(str(_redis_socket(directory)))}?db=0"


@contextmanager
def postgres(directory: Path, *, durable: bool = True) -> Iterator[str]:
    """Run PostgreSQL on `directory`, made on first use, and yield the URL of its database.

    With `durable=False` it is faster, and a crash of the machine may lose its data.
    """
    _require_short(_postgres_socket(directory))
    data = directory.absolute() / "data"
    with _sole_use(directory) as lock:
        programs = _find_postgres_programs(data)
        if not data.exists():
            _create_cluster(programs / "initdb", data, lock, durable)
        _forget_previous_server(directory)
        command = [
            *_as_ordinary_user(),
            *processes.dies_with_us(signal.SIGINT),
            *_postgres_command(programs / "postgres", directory, durable),
        ]
        with _server(
            directory,
            command,
            lock,
            stop_signal=signal.SIGINT,  # "fast shutdown": does not wait for clients to leave
            is_ready=lambda: _postgres_answers(directory),
        ):
            _create_database(directory)
            yield postgres_url(directory)


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """Run Redis on `directory` and yield its URL. What it holds is gone when it stops."""
    _require_short(_redis_socket(directory))
    with _sole_use(directory) as lock:
        command = [*processes.dies_with_us(signal.SIGTERM), *_redis_command(directory)]
        with _server(
            directory,
            command,
            lock,
            stop_signal=signal.SIGTERM,
            is_ready=lambda: _redis_answers(directory),
        ):
            yield redis_url(directory)


def _postgres_socket(directory: Path) -> Path:
    return directory.absolute() / "run" / f".s.PGSQL.{POSTGRES_PORT}"


def _redis_socket(directory: Path) -> Path:
    return directory.absolute() / "redis.sock"


def _require_short(socket: Path) -> None:
    length = len(os.fsencode(socket))
    if length > SOCKET_PATH_BYTES:
        raise OperatorError(
            f"{socket}: {length} bytes, but the path of a unix socket has at most "
            f"{SOCKET_PATH_BYTES}; choose a shorter VAR"
        )


# One server at a time


@contextmanager
def _sole_use(directory: Path) -> Iterator[int]:
    """Hold the directory's lock, which its server inherits.

    So the lock is free only when every process of the server is gone as well: one whose owner was
    killed goes down a moment after its owner.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        file = (directory / "lock").open("a+")
    except OSError as error:
        raise OperatorError(
            f"{directory}: {error.strerror}; it must be a directory that is ours"
        ) from error
    with file:
        _await_lock(file, directory)
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)
        yield file.fileno()


def _await_lock(file: IO[str], directory: Path) -> None:
    deadline = time.monotonic() + RELEASE_SECONDS
    while not _try_lock(file):
        file.seek(0)
        owner = file.read().strip()
        if time.monotonic() > deadline or (owner and not processes.has_ended(int(owner))):
            raise OperatorError(
                f"{directory}: in use by process {owner}, and serves one at a time; "
                "stop that one or choose another VAR"
            )
        time.sleep(POLL_SECONDS)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# A server's life


@contextmanager
def _server(
    directory: Path,
    command: Sequence[str],
    lock: int,
    *,
    stop_signal: signal.Signals,
    is_ready: Callable[[], bool],
) -> Iterator[None]:
    with (directory / "log").open("ab") as log:
        process = processes.start(command, stdout=log, stderr=log, pass_fds=[lock])
    try:
        _await_ready(directory, process.pid, is_ready)
        yield
    finally:
        processes.stop(process, stop_signal, STOP_SECONDS)


def _await_ready(directory: Path, pid: int, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if processes.has_ended(pid, wait_seconds=POLL_SECONDS):
            raise _failure(directory, "the server ended while it started")
        if time.monotonic() > deadline:
            raise _failure(directory, f"the server did not answer within {START_SECONDS} seconds")


def _failure(directory: Path, problem: str) -> OperatorError:
    log = directory / "log"
    tail = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return OperatorError("\n  ".join([f"{directory}: {problem}; {log} ends with:", *tail]))


# PostgreSQL


def _find_postgres_programs(data: Path) -> Path:
    """The folder of the release that made `data`, which others cannot read; else of the newest."""
    releases = {int(path.parent.name): path for path in DEBIAN_POSTGRES.glob("[0-9]*/bin")}
    if not releases:
        return Path(_require_program("postgres", package="postgresql")).parent
    newest = releases[max(releases)]
    version = data / "PG_VERSION"
    return releases.get(int(version.read_text()), newest) if version.exists() else newest


def _require_program(name: str, *, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise OperatorError(f"{name}: not found in PATH; install the Debian package {package}")
    return path


def _as_ordinary_user() -> list[str]:
    """PostgreSQL refuses to run as root, so root becomes `postgres` in a user namespace.

    Outside of it the processes and their files are still root's. The name matters only because
    initdb looks it up; Debian's package makes the account.
    """
    if os.geteuid() != 0:
        return []
    return ["unshare", "--user", "--map-user=postgres", "--map-group=postgres", "--"]


def _create_cluster(initdb: Path, data: Path, lock: int, durable: bool) -> None:
    """Make `data` appear complete or not at all, so that an interrupted try is no obstacle."""
    directory = data.parent
    unfinished = directory / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [
        *_as_ordinary_user(),
        *processes.dies_with_us(signal.SIGKILL),
        str(initdb),
        f"--pgdata={unfinished}",
        f"--username={ROLE}",
        "--auth=trust",  # who may open the socket is decided by its folder
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-instructions",
        *([] if durable else ["--no-sync"]),
    ]
    with (directory / "log").open("ab") as log:
        process = processes.start(command, stdout=log, stderr=log, pass_fds=[lock])
    try:
        if not processes.has_ended(process.pid, START_SECONDS):
            raise _failure(directory, f"initdb took longer than {START_SECONDS} seconds")
    finally:
        processes.stop(process, signal.SIGTERM, STOP_SECONDS)
    if process.returncode != 0:
        raise _failure(directory, f"initdb ended with status {process.returncode}")
    unfinished.rename(data)


def _forget_previous_server(directory: Path) -> None:
    """Remove the marks of a server that could not clean up.

    They hold process numbers, which belong to others after a reboot, and PostgreSQL would then
    refuse to start. We hold the lock, so we know better: no server is left.
    """
    socket = _postgres_socket(directory)
    socket.parent.mkdir(mode=0o700, exist_ok=True)
    socket.unlink(missing_ok=True)
    socket.with_name(socket.name + ".lock").unlink(missing_ok=True)
    (directory / "data" / "postmaster.pid").unlink(missing_ok=True)


def _postgres_command(postgres: Path, directory: Path, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "",
        "port": str(POSTGRES_PORT),
        "unix_socket_directories": str(_postgres_socket(directory).parent),
        "unix_socket_permissions": "0700",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [f"--{name}={value}" for name, value in settings.items()]
    return [str(postgres), "-D", str(directory.absolute() / "data"), *options]


def _connect(directory: Path, database: str) -> psycopg2.extensions.connection:
    return psycopg2.connect(
        host=str(_postgres_socket(directory).parent),
        port=POSTGRES_PORT,
        user=ROLE,
        dbname=database,
        connect_timeout=START_SECONDS,
    )


def _postgres_answers(directory: Path) -> bool:
    try:
        _connect(directory, "postgres").close()
    except psycopg2.OperationalError:
        return False
    return True


def _create_database(directory: Path) -> None:
    with closing(_connect(directory, "postgres")) as connection:
        connection.autocommit = True  # CREATE DATABASE refuses to run inside a transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.rowcount == 0:
                cursor.execute(f"CREATE DATABASE {DATABASE}")


# Redis


def _redis_command(directory: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(_redis_socket(directory)),
        "unixsocketperm": "700",
        "dir": str(directory.absolute()),
        "save": "",
        "appendonly": "no",
    }
    command = [_require_program("redis-server", package="redis-server")]
    for name, value in options.items():
        command += [f"--{name}", value]
    return command


def _redis_answers(directory: Path) -> bool:
    # The caller asks again and again; the client must not do the same on its own account.
    client = redis_client.Redis(
        unix_socket_path=str(_redis_socket(directory)),
        retry=Retry(NoBackoff(), 0),
        socket_timeout=START_SECONDS,
    )
    with closing(client):
        try:
            return bool(client.ping())
        except redis_client.ConnectionError:
            return False
