"""A real S3 server: OpenStack Swift, its four daemons as plain processes on free loopback ports.

What it keeps is below one directory, so a server that was stopped may be started again on it. It is
stopped by its process numbers, and killed by the kernel when whoever started it is gone. Needs the
Debian package python3-swift, which starts nothing by itself.
"""

import configparser
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import create_connection, create_server
from urllib.parse import quote

import requests
from requests_aws4auth import AWS4Auth

from buildsrht import config, processes
from buildsrht.config import Storage

# Debian's, which has Swift; ours has what we need of it over HTTP.
PYTHON = "/usr/bin/python3"
ACCESS_KEY = "builds:service"
SECRET_KEY = "not-much-of-a-secret"
# Known to the server, and without rights on any bucket.
STRANGER_KEY = "builds:stranger"
BUCKET = "builds"
REGION = "us-east-1"
START_SECONDS = 60
STOP_SECONDS = 10
POLL_SECONDS = 0.05

# Swift wants its rings, which say where each thing is kept, and one file whose place is fixed.
RINGS = """
import sys
from swift.common.ring import RingBuilder
directory, *pairs = sys.argv[1:]
for name, port in zip(pairs[::2], pairs[1::2]):
    ring = RingBuilder(2, 1, 0)
    place = {"ip": "127.0.0.1", "port": int(port)}
    place |= {"replication_" + key: value for key, value in place.items()}
    ring.add_dev(place | {"region": 1, "zone": 1, "device": "disk", "weight": 1, "meta": ""})
    ring.rebalance()
    ring.get_ring().save(f"{directory}/{name}.ring.gz")
"""
SERVE = """
import sys
from swift.common import utils
directory, name = sys.argv[1:]
utils.SWIFT_CONF_FILE = directory + "/swift.conf"
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(f"{directory}/{name}-server.conf", name + "-server", verbose=True))
"""

COMMON = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {directory}
devices = {directory}
mount_check = false
disable_fallocate = true
log_level = WARNING
"""
STORE = """
[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = f"""
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth slo dlo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:s3api]
use = egg:swift#s3api
location = {REGION}

[filter:tempauth]
use = egg:swift#tempauth
user_{ACCESS_KEY.replace(":", "_")} = {SECRET_KEY} .admin
user_{STRANGER_KEY.replace(":", "_")} = {SECRET_KEY}

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
""" + "".join(
    f"\n[filter:{name}]\nuse = egg:swift#{name}\n"
    for name in ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo", "dlo")
)
KEY = "<Key>([^<]*)</Key>"
STORES = ("account", "container", "object")
SERVERS = ("proxy", *STORES)


@dataclass
class S3Server:
    directory: Path
    ports: dict[str, int]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.ports["proxy"]

    @property
    def endpoint(self) -> str:
        return "http://{}:{}".format(*self.address)

    def settings(self, directory: Path, prefix: str) -> Storage:
        """What an operator writes to keep everything below `prefix` of the tests' bucket."""
        secret = directory / "secret-key"
        secret.write_text(SECRET_KEY + "\n")
        return replace(
            config.load({}).storage,
            path=directory / "storage",
            url=f"s3://{BUCKET}/{prefix}",
            endpoint=self.endpoint,
            region=REGION,
            access_key=ACCESS_KEY,
            secret_key_file=secret,
        )

    def make_bucket(self, name: str) -> None:
        self.ask("PUT", f"/{name}").raise_for_status()

    def keys(self, prefix: str) -> list[str]:
        """As the server itself lists them, without the library that is tested."""
        asked = f"/{BUCKET}?list-type=2&prefix={quote(prefix, safe='')}"
        listing = self.ask("GET", asked).text
        keys = re.findall(KEY, listing)
        while "<IsTruncated>true" in listing:
            listing = self.ask("GET", f"{asked}&start-after={quote(keys[-1], safe='')}").text
            keys += re.findall(KEY, listing)
        return keys

    def unfinished(self, prefix: str) -> list[str]:
        """The keys of uploads that were begun and not ended."""
        listing = self.ask("GET", f"/{BUCKET}?prefix={quote(prefix, safe='')}&uploads=")
        listing.raise_for_status()
        return re.findall(KEY, listing.text)

    def ask(self, method: str, path: str) -> requests.Response:
        auth = AWS4Auth(ACCESS_KEY, SECRET_KEY, REGION, "s3")
        return requests.request(method, self.endpoint + path, auth=auth, timeout=START_SECONDS)

    def start(self) -> None:
        """To be called from the thread that lives as long as the server shall."""
        for name in self.ports:
            command = [
                *processes.dies_with_us(signal.SIGKILL),
                *(PYTHON, "-c", SERVE, str(self.directory), name),
            ]
            with (self.directory / f"{name}.log").open("ab") as log:
                self.running[name] = processes.start(
                    command, stdout=log, stderr=log, env=_without_our_python()
                )
        for name in self.ports:
            self._await_answer(name)

    def stop(self) -> None:
        """What it was doing is cut off."""
        for process in self.running.values():
            processes.stop(process, signal.SIGKILL, STOP_SECONDS)
        self.running.clear()

    def _await_answer(self, name: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.ports[name]):
            ended = processes.has_ended(self.running[name].pid, POLL_SECONDS)
            if ended or time.monotonic() > deadline:
                log = (self.directory / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"Swift's {name} server does not answer:\n{log[-2000:]}")


@contextmanager
def s3_server(directory: Path) -> Iterator[S3Server]:
    """A server that keeps what it has below `directory`. It has no bucket yet, if that is new."""
    server = configured(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def configured(directory: Path) -> S3Server:
    """A server that is not started: that which was configured there before, or a new one."""
    if directory.exists():
        return S3Server(directory, {name: _port_of(directory, name) for name in SERVERS})
    server = S3Server(directory, _free_ports(*SERVERS))
    _configure(server)
    return server


def _port_of(directory: Path, name: str) -> int:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(directory / f"{name}-server.conf")
    return int(parser.defaults()["bind_port"])


def _configure(server: S3Server) -> None:
    directory = server.directory
    (directory / "disk").mkdir(parents=True)
    rings = [text for name in STORES for text in (name, str(server.ports[name]))]
    subprocess.run(
        [PYTHON, "-W", "ignore", "-c", RINGS, str(directory), *rings],
        check=True,
        timeout=START_SECONDS,
        env=_without_our_python(),
    )
    (directory / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    user = pwd.getpwuid(os.geteuid()).pw_name
    for name, port in server.ports.items():
        common = COMMON.format(port=port, user=user, directory=directory)
        rest = PROXY if name == "proxy" else STORE.format(name=name)
        (directory / f"{name}-server.conf").write_text(common + rest)


def _free_ports(*names: str) -> dict[str, int]:
    listeners = {name: create_server(("127.0.0.1", 0)) for name in names}
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    for listener in listeners.values():
        listener.close()
    return ports


def _without_our_python() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _answers(port: int) -> bool:
    try:
        create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
