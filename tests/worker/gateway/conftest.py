"""A gateway on a free port, a fake machine behind it, and OpenSSH's own client before it."""

import asyncio
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncssh
import pytest

from buildsrht.backend import Backend
from buildsrht.errors import OperatorError
from buildsrht.models import Job, KeptMachine, User
from buildsrht.services import ssh_keys
from tests.build_host import BuildHost
from tests.worker.gateway.fake_keeper import FakeKeeper
from tests.worker.gateway.screen import Screen
from worker.gateway.server import Gateway
from worker.gateway.service import Service

CLIENT_SECONDS = 60
START_SECONDS = 20
STOP_SECONDS = 20


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[FakeKeeper]:
    home = tmp_path / "machine"
    home.mkdir()
    # The path of a socket may not be long.
    with tempfile.TemporaryDirectory() as place:
        keeper = FakeKeeper(Path(place) / "socket", home)
        yield keeper
        keeper.close()


@contextmanager
def serving(backend: Backend, keeper: FakeKeeper) -> Iterator[int]:
    """The port of a gateway that serves as long as the block runs."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    port: Future[int] = Future()

    async def serve() -> None:
        try:
            gateway = Gateway(Service(backend, keeper.open_machine))
            async with gateway.listening() as listens_on:
                port.set_result(listens_on)
                await stop.wait()
        except OperatorError as error:
            port.set_exception(error)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        yield port.result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(STOP_SECONDS)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture
def any_port(backend: Backend) -> Backend:
    """The backend, of a service whose gateway listens on whatever port is free."""
    ssh = replace(backend.config.ssh, host="127.0.0.1", port=0)
    worker = replace(backend.config.worker, name="host-1")
    return replace(backend, config=replace(backend.config, ssh=ssh, worker=worker))


@pytest.fixture
def port(any_port: Backend, keeper: FakeKeeper) -> Iterator[int]:
    with serving(any_port, keeper) as port:
        yield port


@dataclass(frozen=True)
class Client:
    """OpenSSH's client, with one private key."""

    port: int
    key: Path
    known_hosts: Path

    def command(
        self, *words: str, user: str = "builds", options: tuple[str, ...] = ()
    ) -> list[str]:
        host = f"{user}@127.0.0.1"
        return ["ssh", *options, *self.options("-p"), host, *words]

    def options(self, port_option: str) -> list[str]:
        settings = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
        }
        pairs = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["-F", "none", "-i", str(self.key), port_option, str(self.port), *pairs]

    def __call__(
        self, *words: str, input: bytes = b"", **options
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command there, without a terminal."""
        return self.run(self.command(*words, **options), input=input)

    def run(self, command: list[str], input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, input=input, capture_output=True, timeout=CLIENT_SECONDS)

    def start(self, *words: str, **options) -> subprocess.Popen[bytes]:
        """The same, and do not wait for it."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self.command(*words, **options), **pipes, bufsize=0)

    @contextmanager
    def screen(self, *words: str, **options) -> Iterator[Screen]:
        """The same, with a terminal at both ends."""
        with Screen(self.command(*words, options=("-tt",), **options)) as screen:
            yield screen


@pytest.fixture
def make_client_of(backend: Backend, tmp_path: Path) -> Callable[..., Client]:
    """A client of whatever listens there: `make_client_of(port, owner)`."""

    def make(
        port: int, user: User | None = None, kind: str = "ssh-ed25519", **options: int
    ) -> Client:
        key = asyncssh.generate_private_key(kind, **options)
        path = tmp_path / f"id-{len(list(tmp_path.glob('id-*')))}"
        path.write_bytes(key.export_private_key())
        path.chmod(0o600)
        if user:
            ssh_keys.add_key(backend, user.name, key.export_public_key().decode())
        host_key = asyncssh.read_private_key(str(backend.keys.ssh_host_key))
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
        return Client(port, path, known_hosts)

    return make


@pytest.fixture
def make_client(port: int, make_client_of: Callable[..., Client]) -> Callable[..., Client]:
    """A client with a new key, which is a user's unless there is none: `make_client(owner)`."""
    return partial(make_client_of, port)


@pytest.fixture
def ssh(make_client, owner: User) -> Client:
    """The client of the user whose jobs they are."""
    return make_client(owner)


@pytest.fixture
def build_host(backend: Backend) -> Callable[[int], BuildHost]:
    return lambda job_id: BuildHost(backend, job_id)


@pytest.fixture
def keep(backend: Backend) -> Callable[..., None]:
    """Keep the machine of a job: `keep(job)`, `keep(job, ended=..., reason="...")`."""

    def keep_machine(job: Job, runner: str = "host-1", **fields) -> None:
        expires = datetime.now(UTC) + timedelta(hours=1)
        with backend.transaction() as session:
            key = None if fields.get("ended") else b"sealed"
            named = {"runner": runner, "expires": expires, "sealed_key": key, **fields}
            session.add(KeptMachine(job_id=job.id, **named))

    return keep_machine


@pytest.fixture
def kept_job(make_job, keep) -> Job:
    """A job that failed, whose machine is kept."""
    job = make_job("failed")
    keep(job)
    return job


@pytest.fixture(autouse=True)
def without_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client would send along of ours."""
    for name in list(os.environ):
        if name == "LANG" or name.startswith("LC_"):
            monkeypatch.delenv(name)
