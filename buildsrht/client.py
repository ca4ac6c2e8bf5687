"""The HTTP client behind the command line.

A `Client` speaks to one server with one token. What the server refuses becomes one sentence with
every field and reason, and the class of the error says whether asking again may help. Files and
logs arrive as they were written, or not at all.

Knows nothing of the database, and imports none of what the server needs: it has to start fast.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, cast
from urllib.parse import urlsplit

import httpx

from buildsrht.errors import BuildsError

UNFINISHED = ("pending", "queued", "running")
LOOPBACK = ("127.0.0.1", "::1", "localhost")

TIMEOUT = httpx.Timeout(30, connect=10)


class Task(TypedDict):
    name: str
    status: str
    log: str


class Job(TypedDict):
    id: int
    status: str
    setup_log: str
    tasks: list[Task]
    note: str | None
    tags: str | None
    runner: str | None


class Artifact(TypedDict):
    name: str
    size: int
    url: str
    sha256: str
    deleted: str | None


class Refused(BuildsError):
    """The server understood and said no; asking again changes nothing."""


class ServerAway(BuildsError):
    """No answer, or one that speaks of a passing trouble; asking again may help."""


class Damaged(BuildsError):
    """What arrived is not what the server promised to send."""


class Client:
    """One server, with connections that are kept open until the end of the `with` block."""

    def __init__(self, url: str, token: str):
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {token}",
                # Offsets and digests are those of the bytes as they were written.
                "Accept-Encoding": "identity",
            },
            timeout=TIMEOUT,
            # A proxy named by the environment knows nothing of our loopback.
            trust_env=urlsplit(url).hostname not in LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def submit(self, submission: Mapping[str, Any]) -> Job:
        return cast(Job, self._ask("POST", "/api/jobs", json=submission))

    def job(self, job_id: int) -> Job:
        return cast(Job, self._ask("GET", f"/api/jobs/{job_id}"))

    def start(self, job_id: int) -> None:
        self._ask("POST", f"/api/jobs/{job_id}/start")

    def cancel(self, job_id: int) -> None:
        self._ask("POST", f"/api/jobs/{job_id}/cancel")

    def artifacts(self, job_id: int) -> list[Artifact]:
        # A manifest names at most eight, so that there is no second page.
        page = self._ask("GET", f"/api/jobs/{job_id}/artifacts")
        return cast(list[Artifact], page["results"])

    def read_log(self, url: str, offset: int, write: Callable[[bytes], object]) -> bool:
        """Pass the log from byte `offset` on to `write`, as it arrives.

        True means that this was its end. False: more may follow.
        """
        wanted = {"Range": f"bytes={offset}-"}
        with self._answer("GET", url, accept=(416,), headers=wanted) as response:
            if response.status_code == 416:
                return True  # sealed, and we have all of it
            # 200: somebody between us and the server does not do ranges.
            surplus = 0 if response.status_code == 206 else offset
            for chunk in response.iter_raw():
                write(chunk[surplus:])
                surplus = max(0, surplus - len(chunk))
            return response.headers.get("X-Log-Complete") == "true"

    def download(self, artifact: Artifact, directory: Path) -> Path:
        """Save an artifact below `directory`: all of it, as it was kept, or nothing."""
        target = directory / _plain_name(artifact["name"])
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = directory / f".{secrets.token_hex(8)}.part"
        try:
            digest = hashlib.sha256()
            with unfinished.open("xb") as file, self._answer("GET", artifact["url"]) as response:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    digest.update(chunk)
            if digest.hexdigest() != artifact["sha256"]:
                raise Damaged(f"{target.name}: arrived damaged, its SHA-256 differs")
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        with self._answer(method, path, **options) as response:
            try:
                return json.loads(response.read())
            except ValueError as error:
                raise Refused(f"{self.url}{path}: answered, but not in JSON") from error

    @contextmanager
    def _answer(
        self, method: str, url: str, *, accept: Container[int] = (), **options: Any
    ) -> Iterator[httpx.Response]:
        """A response that is a success, or has a status of `accept`; its body is still to come."""
        try:
            with self._http.stream(method, self._reachable(url), **options) as response:
                if not (response.is_success or response.status_code in accept):
                    response.read()
                    raise self._refusal(response)
                yield response
        except httpx.TransportError as error:
            raise ServerAway(f"{self.url}: {error or type(error).__name__}") from error

    def _reachable(self, url: str) -> str:
        """The same path on the server that we were told to use.

        A URL in an answer names the server's public origin. From here that may be unreachable, as
        behind a tunnel; and it is nobody else who gets our token.
        """
        parts = urlsplit(url)
        return self.url + parts._replace(scheme="", netloc="").geturl()

    def _refusal(self, response: httpx.Response) -> BuildsError:
        status = f"{response.status_code} {response.reason_phrase}"
        reasons = _reasons(response) or f"{response.request.url}: {status}"
        if response.is_server_error:
            return ServerAway(f"{self.url}: {status}: {reasons}")
        return Refused(reasons)


def _reasons(response: httpx.Response) -> str:
    """All the problems that an error of the API names; empty for an answer of somebody else."""
    try:
        errors = response.json()["errors"]
        return "; ".join(
            f"{error['field']}: {error['reason']}" if error.get("field") else error["reason"]
            for error in errors
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _plain_name(name: str) -> str:
    """The name of a file right where it is saved, never a way to somewhere else."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Damaged(f"{name!r}: cannot be the name of a file")
    return name
