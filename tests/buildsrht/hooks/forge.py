"""A forge on this host: repositories behind git's own HTTP server, and what a bad one may do."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada *L*",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(directory: Path, *arguments: str, stdin: bytes | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        input=stdin,
        env={**os.environ, **IDENTITY},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return done.stdout.decode().strip()


class Forge:
    """`requests` are all that it was asked; the switches are what is wrong with it."""

    def __init__(self, root: Path, host: str):
        self.root = root
        self.host = host
        self.requests: list[str] = []
        self.password: str | None = None
        self.redirect: str | None = None
        self.is_dumb = False
        self.is_asked = threading.Event()
        self.talks = threading.Event()
        self.talks.set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/ada/hello.git"

    @property
    def repository(self) -> Path:
        return self.root / "ada" / "hello.git"

    def make(self, object_format: str = "sha1") -> None:
        self.repository.mkdir(parents=True)
        git(self.repository, "init", "-q", "--bare", f"--object-format={object_format}")
        git(self.repository, "config", "uploadpack.allowFilter", "true")
        work = self.root / "work"
        work.mkdir()
        git(work, "init", "-q", f"--object-format={object_format}")

    def push(
        self,
        files: dict[str, str | bytes],
        ref: str = "refs/heads/main",
        message: str = "Say hello",
        links: dict[str, str] | None = None,
    ) -> str:
        """Commit these files, and no other, and push that. Returns the commit."""
        work = self.root / "work"
        git(work, "rm", "-rqf", "--ignore-unmatch", "--cached", ".")
        for path, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            blob = git(work, "hash-object", "-w", "--stdin", stdin=data)
            self._stage("100644", blob, path)
        for path, target in (links or {}).items():
            blob = git(work, "hash-object", "-w", "--stdin", stdin=target.encode())
            self._stage("120000", blob, path)
        git(work, "commit", "-q", "--allow-empty", "-m", message)
        git(work, "push", "-qf", str(self.repository), f"HEAD:{ref}")
        return git(work, "rev-parse", "HEAD")

    def _stage(self, mode: str, blob: str, path: str) -> None:
        entry = f"{mode} {blob}\t{path}\0".encode()
        git(self.root / "work", "update-index", "-z", "--index-info", stdin=entry)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    forge: Forge

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        forge = self.forge
        forge.requests.append(f"{self.command} {self.path}")
        forge.is_asked.set()
        forge.talks.wait(60)
        if forge.redirect:
            self._say(302, {"Location": forge.redirect + self.path}, b"")
        elif forge.password and not self._is_let_in():
            self._say(401, {"WWW-Authenticate": 'Basic realm="forge"'}, b"")
        elif forge.is_dumb:
            self._serve_files()
        else:
            self._run_backend(body)

    def _is_let_in(self) -> bool:
        expected = base64.b64encode((self.forge.password or "").encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _serve_files(self) -> None:
        path = self.forge.root / self.path.partition("?")[0].lstrip("/")
        if path.is_file():
            self._say(200, {"Content-Type": "text/plain"}, path.read_bytes())
        else:
            self._say(404, {}, b"")

    def _run_backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.forge.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=60
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200").split()[0])
        self._say(status, fields, content)

    def _say(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with suppress(ConnectionError):  # a client that was killed half way
            super().handle()

    def log_message(self, *_: object) -> None:
        """Not into the output of the tests."""


@contextmanager
def serving(root: Path, host: str = "127.0.0.1") -> Iterator[Forge]:
    forge = Forge(root, host)
    handler = type("Handler", (_Handler,), {"forge": forge})
    server = ThreadingHTTPServer((host, 0), handler)
    server.daemon_threads = True
    forge.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield forge
    finally:
        forge.talks.set()
        server.shutdown()
        thread.join()
        server.server_close()
