"""contrib/nginx/buildsrht.conf, in a real nginx before a server that listens on a real port."""

import hashlib
import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_bytes

import httpx
import pytest
from flask import request

from buildsrht import config as settings
from buildsrht import processes
from buildsrht.app import create_app
from tests.archives import archive
from tests.build_host import BuildHost
from tests.live_server import served
from tests.whole_service import free_port

CONFIGURATION = Path(__file__).parents[2] / "contrib" / "nginx" / "buildsrht.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
AROUND = """
daemon off;
pid {place}/pid;
error_log {place}/error.log;
worker_processes 1;
{user}
events {{}}
http {{
    client_body_temp_path {place}/bodies;
    proxy_temp_path {place}/answers;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    include {place}/buildsrht.conf;
}}
"""
NAME = "builds.example.org"
SUBMIT = """mutation($manifest: String!, $tree: Upload, $directory: String) {
    submit(manifest: $manifest, tree: $tree, treeDirectory: $directory) { id }
}"""
SECONDS = 30

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx")


@dataclass
class Proxied:
    """Where nginx listens, and the addresses of clients as the service has seen them."""

    plain: int
    secure: int
    place: Path
    seen: list[str | None]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.secure}"

    def client(self, token: str | None = None, address: str = "127.0.0.1") -> httpx.Client:
        headers = {"Host": NAME} | ({"Authorization": f"Bearer {token}"} if token else {})
        transport = httpx.HTTPTransport(verify=False, local_address=address)
        return httpx.Client(
            base_url=self.url, headers=headers, transport=transport, timeout=SECONDS
        )


@pytest.fixture
def proxied(backend, tmp_path) -> Iterator[Proxied]:
    """The service behind nginx, as the page tells to configure both."""
    web = replace(backend.config.web, proxies=1, origin=f"https://{NAME}")
    app = create_app(replace(backend, config=replace(backend.config, web=web)))
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.remote_addr))
    with closing(socket.create_server(("127.0.0.1", 0))) as listener, served(app, listener):
        proxied = Proxied(free_port(), free_port(), tmp_path / "nginx", seen)
        proxied.place.mkdir()
        write_configuration(proxied, upstream=listener.getsockname()[1])
        with running(proxied):
            yield proxied


def write_configuration(proxied: Proxied, upstream: int) -> None:
    """What is committed, with the places and ports of this test and no more slots than it fills."""
    place = proxied.place
    make_certificate(place)
    text = CONFIGURATION.read_text()
    for pattern, replacement in {
        r"listen \[::\].*\n": "",
        r"listen 80;": f"listen 127.0.0.1:{proxied.plain};",
        r"listen 443 ssl": f"listen 127.0.0.1:{proxied.secure} ssl",
        r"127\.0\.0\.1:5002": f"127.0.0.1:{upstream}",
        r"/etc/ssl/certs/\S+\.pem": f"{place}/certificate",
        r"/etc/ssl/private/\S+\.key": f"{place}/key",
        r"/var/log/nginx/": f"{place}/",
        r"limit_conn buildsrht_addresses \d+": "limit_conn buildsrht_addresses 3",
    }.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    (place / "buildsrht.conf").write_text(text)
    user = "user root;" if Path(place).stat().st_uid == 0 else ""
    (place / "nginx.conf").write_text(AROUND.format(place=place, user=user))


def make_certificate(place: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "1"),
            *("-subj", f"/CN={NAME}", "-keyout", place / "key", "-out", place / "certificate"),
        ],
        check=True,
        capture_output=True,
    )


@contextmanager
def running(proxied: Proxied) -> Iterator[None]:
    command = [str(NGINX), "-c", str(proxied.place / "nginx.conf"), "-e", "stderr"]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    process = processes.start([*processes.dies_with_us(signal.SIGTERM), *command])
    try:
        wait_for_port(proxied.secure)
        yield
    finally:
        processes.stop(process, signal.SIGTERM, SECONDS)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_page_comes_by_tls_and_http_2(proxied):
    done = subprocess.run(
        [
            *("curl", "--silent", "--insecure", "--http2", "--include"),
            *("--resolve", f"{NAME}:{proxied.secure}:127.0.0.1"),
            f"https://{NAME}:{proxied.secure}/login",
        ],
        check=True,
        capture_output=True,
        text=True,
    )

    head, _, page = done.stdout.replace("\r", "").partition("\n\n")
    assert head.startswith("HTTP/2 200")
    assert "strict-transport-security: max-age=" in head
    assert "content-security-policy: " in head
    assert "<form" in page


def test_whoever_asks_without_tls_is_told_where_to_ask(proxied):
    answer = httpx.get(f"http://127.0.0.1:{proxied.plain}/jobs?x=1", headers={"Host": NAME})

    assert answer.status_code == 301
    assert answer.headers["Location"] == f"https://{NAME}/jobs?x=1"


def test_the_service_sees_the_address_of_the_client_and_not_what_that_claims(proxied):
    with proxied.client(address="127.0.0.7") as client:
        client.get("/healthz", headers={"X-Forwarded-For": "192.0.2.1"})

    assert proxied.seen == ["127.0.0.7"]


def test_a_tree_is_taken_that_is_larger_than_other_requests_may_be(
    proxied, backend, token, owner, manifest
):
    tree = archive({"project/": None, "project/data": token_bytes(2 * 2**20)})
    variables = {"manifest": manifest, "tree": None, "directory": "project"}
    form = {
        "operations": json.dumps({"query": SUBMIT, "variables": variables}),
        "map": json.dumps({"0": ["variables.tree"]}),
    }

    with proxied.client(token(owner)) as client:
        answer = client.post("/query", data=form, files={"0": ("tree.tar.gz", tree)})

    assert answer.json() == {"data": {"submit": {"id": 1}}}


@pytest.mark.parametrize(("path", "size"), [("/api/jobs", 2 * 2**20), ("/query", 67 * 2**20)])
def test_what_is_too_large_is_refused_before_it_was_sent(proxied, path, size):
    insecure = ssl._create_unverified_context()
    with closing(
        http.client.HTTPSConnection("127.0.0.1", proxied.secure, context=insecure)
    ) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(size))
        connection.endheaders()

        assert connection.getresponse().status == 413
    assert proxied.seen == []


def test_the_limits_are_those_of_the_service():
    limits = settings.load({}).limits
    said = [
        int(size) for size in re.findall(r"client_max_body_size (\d+)m", CONFIGURATION.read_text())
    ]

    assert [size * 2**20 for size in said] == [
        limits.request,
        # Whole megabytes, and something for the form around it.
        limits.tree + limits.request + 2**20,
    ]


def test_events_arrive_as_they_happen(proxied, backend, token, owner, make_job):
    make_job("queued")
    host = BuildHost(backend, 1)

    with proxied.client(token(owner)) as client, client.stream("GET", "/api/jobs/1/events") as told:
        lines = told.iter_lines()
        wait_for_line(lines, "running")
        host.write(None, "One.\n")
        wait_for_line(lines, "One.")
        host.write(None, "Two.\n")
        wait_for_line(lines, "Two.")
        host.finish()
        wait_for_line(lines, "success")


def wait_for_line(lines: Iterator[str], word: str) -> None:
    """The client's own time limit ends it if nothing comes."""
    assert any(word in line for line in lines)


def test_a_large_artifact_comes_whole_and_in_parts_and_is_not_put_on_disk(
    proxied, token, owner, make_job, keep_artifact
):
    data = token_bytes(8 * 2**20)
    kept = keep_artifact(make_job("success"), data=data)
    path = f"/artifacts/{kept.job_id}/{kept.secret}/{kept.name}"

    with proxied.client(token(owner)) as client:
        part = client.get(path, headers={"Range": "bytes=1000-1999"})
        with client.stream("GET", path) as whole:
            digest = hashlib.sha256()
            for chunk in whole.iter_raw():
                digest.update(chunk)
                assert list((proxied.place / "answers").rglob("*")) == []

    assert (part.status_code, part.content) == (206, data[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
    assert digest.digest() == kept.sha256


def test_one_address_cannot_take_all_places(proxied, backend, token, owner, make_job):
    make_job("queued")
    path, text = "/api/jobs/1/events", token(owner)

    with proxied.client(text) as one, one.stream("GET", path) as a, one.stream("GET", path) as b:
        with one.stream("GET", path) as c:
            assert [stream.status_code for stream in (a, b, c)] == [200] * 3
            assert one.get("/healthz").status_code == 429
            with proxied.client(address="127.0.0.7") as another:
                assert another.get("/healthz").status_code == 200
        backend.redis.ping()
        BuildHost(backend, 1).finish()


def test_metrics_are_not_for_the_outside(proxied):
    with proxied.client() as inside, proxied.client(address="127.0.0.7") as outside:
        assert outside.get("/metrics").status_code == 403
        assert proxied.seen == []
        inside.get("/metrics")
    assert proxied.seen == ["127.0.0.1"]


def test_no_address_with_a_secret_in_its_query_is_in_the_log(proxied):
    with proxied.client() as client:
        client.get("/login?code=hunter2")

    assert "/login 200" in wait_for_log(proxied.place / "buildsrht.log")
    assert "hunter2" not in (proxied.place / "buildsrht.log").read_text()


def test_no_link_that_lets_in_whoever_knows_it_is_in_the_log(proxied):
    with proxied.client() as client:
        client.get("/reset/hunter2")
        client.get("/artifacts/17/hunter2/out.tar")
        client.get("/login")

    log = wait_for_log(proxied.place / "buildsrht.log", "/login")
    assert "/reset/... " in log
    assert "/artifacts/17/.../out.tar " in log
    assert "hunter2" not in log


def wait_for_log(path: Path, said: str = "\n") -> str:
    deadline = time.monotonic() + SECONDS
    while said not in (text := path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text
