"""A whole service in the hub, and its build hosts, each in a network of its own.

PostgreSQL, Redis, the server of the bucket and the web service are in the hub. Hosts reach the
first three by TCP, through relays on the hub's address, and were given the same keys and images;
that is all they have in common.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import requests
from sqlalchemy.engine import make_url

from buildsrht import catalogue, database
from buildsrht import config as settings
from buildsrht.config import Config
from buildsrht.errors import OperatorError
from chaos import witness
from chaos.errors import ChaosFailed
from chaos.network import HUB, Namespace, namespace
from chaos.parts import Part
from chaos.witness import Witness
from tests import s3_server
from tests.s3_server import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, S3Server
from worker import templates
from worker.machines import find_platform
from worker.platforms import Platform

IMAGE = "debian/stable"
BUILDSRHT = (sys.executable, "-P", "-m", "buildsrht")
SERVERS = (sys.executable, "-m", "chaos.servers")
POSTGRES_PORT, REDIS_PORT, BUCKET_PORT, WEB_PORT = 5432, 6379, 9000, 5002
# What a host has for its runs: it can be filled to its end without harm to anything else.
WORK_SIZE = "1g"
SLOTS = 2
JOB_SECONDS = 60
WAIT_SECONDS = 120
POLL_SECONDS = 0.1

# One client is all who submit and look.
UNCOUNTED = "[limits]\nrequests = none\nsubmissions = none\n"


@dataclass(frozen=True)
class Host:
    """A build host: its network, its processes, where its runs are."""

    name: str
    network: Namespace
    worker: Part
    janitor: Part
    work: Path

    @property
    def parts(self) -> list[Part]:
        return [self.worker, self.janitor]

    def fill_disk(self) -> None:
        """Until nothing more fits."""
        self.network.run("sh", "-c", f"cat /dev/zero > {self.work}/fill 2> /dev/null || true")

    def empty_disk(self) -> None:
        self.network.run("rm", "-f", f"{self.work}/fill")


@dataclass(frozen=True)
class Fleet:
    config: Config
    postgres: Part
    redis: Part
    bucket: Part
    web: Part
    hosts: Sequence[Host]
    s3: S3Server
    seen: Witness

    @property
    def origin(self) -> str:
        return self.config.web.origin

    @property
    def servers(self) -> list[Part]:
        """That the service needs and does not bring along."""
        return [self.postgres, self.redis, self.bucket]

    @property
    def parts(self) -> list[Part]:
        """In the order in which they are started."""
        of_hosts = [part for host in self.hosts for part in host.parts]
        return [*self.servers, self.web, *of_hosts]


@dataclass(frozen=True)
class _Place:
    """Where a run has everything, and what it is made from."""

    directory: Path
    images: Path
    template: Path
    s3: S3Server

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def secret_key_file(self) -> Path:
        return self.directory / "secret-key"

    def environment(self, name: str, more: str) -> Mapping[str, str]:
        """The variables of the processes of one host, or of the hub."""
        var = self.directory / name
        var.mkdir()
        config = var / "config.ini"
        config.write_text(
            f"[keys]\npath = {self.directory}/keys\n[images]\npath = {self.images}\n"
            f"[storage]\nurl = s3://{BUCKET}\nendpoint = http://{HUB}:{BUCKET_PORT}\n"
            f"region = {REGION}\naccess_key = {ACCESS_KEY}\n"
            f"secret_key_file = {self.secret_key_file}\n{more}"
        )
        return {**os.environ, "VAR": str(var), "BUILDSRHT_CONFIG": str(config)}


@contextmanager
def running(var: Path, directory: Path, host_count: int) -> Iterator[Fleet]:
    """All of it, ready for jobs. What is in `directory` is this run's alone."""
    s3 = s3_server.configured(directory / "bucket")
    place = _Place(directory, var / "images", _find_template(var), s3)
    place.logs.mkdir()
    place.secret_key_file.write_text(f"{SECRET_KEY}\n")
    with ExitStack() as stack:
        seen = stack.enter_context(witness.listening(HUB))
        networks = [stack.enter_context(namespace(n + 1)) for n in range(host_count)]
        hub = place.environment("hub", f"[web]\nhost = {HUB}\nport = {WEB_PORT}\n{UNCOUNTED}")
        fleet = _make(place, settings.load(hub), hub, networks, seen)
        relays = _relays(place, fleet, hub)
        stack.callback(_stop, [*relays, *fleet.parts])
        for server in (*fleet.servers, *relays):
            server.start()
        _prepare(fleet, hub)
        for part in fleet.parts[len(fleet.servers) :]:
            part.start()
        _await(lambda: is_healthy(fleet.origin), "the web service")
        yield fleet


def _find_template(var: Path) -> Path:
    """The operator's own, so that no host has to boot an image first."""
    platform = _platform(settings.load({"VAR": str(var)}))
    template = templates.require(platform, print)
    if template is None:
        raise ChaosFailed("there is no template; the line above says why")
    return template.directory


def _platform(config: Config) -> Platform:
    image = catalogue.load(config.images.recipes).find(IMAGE)
    assert image, f"{IMAGE} is one of the recipes"
    return find_platform(config, image.name, image.default_arch)


def _make(
    place: _Place,
    config: Config,
    hub: Mapping[str, str],
    networks: Sequence[Namespace],
    seen: Witness,
) -> Fleet:
    def server(kind: str, at: Path) -> Part:
        return Part(kind, [*SERVERS, kind, str(at)], hub, place.logs)

    return Fleet(
        config=config,
        postgres=server("postgres", config.embedded_postgres),
        redis=server("redis", config.embedded_redis),
        bucket=server("bucket", place.s3.directory),
        web=Part("web", [*BUILDSRHT, "web"], hub, place.logs),
        hosts=[_host(place, config, network) for network in networks],
        s3=place.s3,
        seen=seen,
    )


def _host(place: _Place, hub: Config, network: Namespace) -> Host:
    name = network.link
    url = make_url(hub.database.url)
    work = place.directory / name / "work"
    environment = place.environment(
        name,
        f"[database]\nurl = postgresql://{url.username}@{HUB}:{POSTGRES_PORT}/{url.database}\n"
        f"[redis]\nurl = redis://{HUB}:{REDIS_PORT}/0\n"
        f"[worker]\nname = {name}\ncount = {SLOTS}\npath = {work}\ndisk_reserve = 128MiB\n"
        f"job_timeout = {JOB_SECONDS}s\n[snapshots]\nspares = 1\n"
        f"[network]\nallow = {HUB}:{witness.PORT}\n",
    )
    config = settings.load(environment)
    copy = templates.home_of(_platform(config)) / place.template.name
    # Sealed by size and time, which links share.
    shutil.copytree(place.template, copy, copy_function=os.link)
    work.mkdir(mode=0o700)
    network.run("mount", "-t", "tmpfs", "-o", f"size={WORK_SIZE},mode=0700", "tmpfs", str(work))

    def part(command: str) -> Part:
        line = [*network.prefix, *BUILDSRHT, command]
        return Part(f"{name}-{command}", line, environment, place.logs)

    return Host(name, network, part("worker"), part("janitor"), work)


def _relays(place: _Place, fleet: Fleet, hub: Mapping[str, str]) -> list[Part]:
    """From the hub's address to where the servers listen; they end with the run."""
    url = make_url(fleet.config.database.url)
    listeners = {
        POSTGRES_PORT: f"UNIX-CONNECT:{url.query['host']}/.s.PGSQL.{url.query['port']}",
        REDIS_PORT: f"UNIX-CONNECT:{fleet.config.embedded_redis}/redis.sock",
        BUCKET_PORT: "TCP:{}:{}".format(*place.s3.address),
    }
    return [
        Part(
            f"relay-{port}",
            ["socat", f"TCP-LISTEN:{port},bind={HUB},fork,reuseaddr", listener],
            hub,
            place.logs,
        )
        for port, listener in listeners.items()
    ]


def _prepare(fleet: Fleet, hub: Mapping[str, str]) -> None:
    def is_there() -> bool:
        try:
            database.init(fleet.config)
        except OperatorError:
            return False
        return True

    def has_bucket() -> bool:
        try:
            fleet.s3.make_bucket(BUCKET)
        except requests.RequestException:
            return False
        return True

    _await(is_there, "PostgreSQL")
    _await(has_bucket, "the bucket's server")
    run([*BUILDSRHT, "keys", "init"], hub)


def create_token(fleet: Fleet, user: str) -> str:
    environment = {**os.environ, "VAR": str(fleet.config.var)}
    environment["BUILDSRHT_CONFIG"] = str(fleet.config.var / "config.ini")
    scopes = "jobs:read jobs:write"
    return run([*BUILDSRHT, "token", "create", "--user", user, "--scopes", scopes], environment)


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    if done.returncode:
        raise ChaosFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def is_healthy(origin: str) -> bool:
    try:
        return httpx.get(f"{origin}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _await(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ChaosFailed(f"{what} did not come up")
        time.sleep(POLL_SECONDS)


def _stop(parts: Sequence[Part]) -> None:
    for part in reversed(parts):
        part.stop()
