"""A service as an operator starts it, for as long as a block lasts.

It is told where images and snapshots are, and maybe how many jobs may run at once and how many
machines wait ready for them; all the rest is as without any configuration.
"""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from bench.client import Client
from bench.errors import MeasurementFailed
from bench.place import Place
from buildsrht import config as settings
from buildsrht import database, embedded, processes
from buildsrht.config import Config
from worker.spares import SOCKET

OWNER = "bench"
BUILDSRHT = [sys.executable, "-P", "-m", "buildsrht"]
START_SECONDS = 120
STOP_SECONDS = 120
REST_SECONDS = 60
COMMAND_SECONDS = 60
TAIL_LINES = 20


@dataclass(frozen=True)
class Service:
    origin: str
    token: str
    config: Config
    pid: int

    def client(self) -> Client:
        return Client(self.origin, self.token)

    def await_rest(self) -> None:
        """Return when every spare machine is ready, as on a service that has been idle."""
        deadline = time.monotonic() + REST_SECONDS
        while self._ready_spares() < self.config.snapshots.spares:
            if time.monotonic() > deadline:
                raise MeasurementFailed(f"no spare machines after {REST_SECONDS} s")
            time.sleep(0.1)

    def _ready_spares(self) -> int:
        return len(list(self.config.worker.path.glob(f"spare-*/{SOCKET}")))


@contextmanager
def running(
    place: Place, name: str, *, workers: int | None = None, spares: int | None = None
) -> Iterator[Service]:
    """All of it, with one command."""
    default = place.platform.config
    env = place.environment(
        name,
        workers=default.worker.count if workers is None else workers,
        spares=default.snapshots.spares if spares is None else spares,
    )
    with _served(["up"], _with_port(env)) as service:
        yield service


@contextmanager
def without_worker(place: Place, name: str) -> Iterator[Service]:
    """The web service and its servers, so that what is queued stays queued."""
    env = _with_port(place.environment(name, workers=1, spares=0))
    config = settings.load(env)
    with embedded.postgres(config.embedded_postgres), embedded.redis(config.embedded_redis):
        database.init(config)
        database.migrate(config)
        with _served(["web"], env) as service:
            yield service


def _with_port(env: Mapping[str, str]) -> Mapping[str, str]:
    return {**env, "PORT": str(free_port())}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def _served(arguments: list[str], env: Mapping[str, str]) -> Iterator[Service]:
    config = settings.load(env)
    said = config.var / "said"
    with said.open("wb") as output:
        command = [*processes.dies_with_us(signal.SIGTERM), *BUILDSRHT, *arguments]
        process = processes.start(command, env=env, stdout=output, stderr=output)
    try:
        _await_health(env["PORT"], process.pid)
        yield Service(config.web.origin, _create_token(env), config, process.pid)
    except MeasurementFailed:
        lines = said.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        print(f"buildsrht {arguments[0]} said:", *lines, sep="\n", file=sys.stderr)
        raise
    finally:
        processes.stop(process, signal.SIGTERM, STOP_SECONDS)


def _await_health(port: str, pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_healthy(port):
        if processes.has_ended(pid, wait_seconds=0.05):
            raise MeasurementFailed("the service ended while it started")
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"the service was not healthy within {START_SECONDS} s")


def _is_healthy(port: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=START_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _create_token(env: Mapping[str, str]) -> str:
    command = [*BUILDSRHT, "token", "create", "--user", OWNER, "--scopes", "jobs:read jobs:write"]
    done = subprocess.run(
        command, env=env, check=True, capture_output=True, text=True, timeout=COMMAND_SECONDS
    )
    return done.stdout.strip()
