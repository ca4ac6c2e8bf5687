"""The HTTP client behind the command line.

A `Client` speaks to one server as one user: plain HTTP where that is the natural form, as for jobs,
logs and artifacts, and GraphQL for the rest. What the server refuses becomes one sentence with
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
from typing import IO, Any, NotRequired, Self, TypedDict, cast
from urllib.parse import urlsplit

import httpx

from buildsrht.errors import BuildsError

UNFINISHED = ("pending", "queued", "running")
UNAUTHORIZED = 401
TOO_MANY = 429
# What GraphQL, whose every answer is a success to HTTP, calls a passing trouble.
UNAVAILABLE = "UNAVAILABLE"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

TIMEOUT = httpx.Timeout(30, connect=10)
# The server looks into what it was sent before it answers.
UPLOAD_TIMEOUT = httpx.Timeout(300, connect=10)

# Is told how many bytes were moved since it was told last.
Told = Callable[[int], object]


def _ignore(_: int) -> None:
    pass


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
    visibility: str
    # From an older server it does not come.
    fault: NotRequired[str | None]


class Artifact(TypedDict):
    name: str
    size: int
    url: str
    sha256: str
    deleted: str | None


class Refused(BuildsError):
    """The server understood and said no; asking again changes nothing."""


class Incomplete(Refused):
    """Part of a GraphQL query was refused; `data` is what came all the same, if anything did."""

    def __init__(self, reasons: str, data: Any):
        super().__init__(reasons)
        self.data = data


class ServerAway(BuildsError):
    """No answer, or one that speaks of a passing trouble; asking again may help."""


class Damaged(BuildsError):
    """What arrived is not what the server promised to send."""


class Client:
    """One server, with connections that are kept open until the end of the `with` block."""

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str] | None,
        timeout: httpx.Timeout = TIMEOUT,
    ):
        """A token that may be replaced while we work comes as a function, asked each time."""
        self.url = url.rstrip("/")
        self._token = token
        self._http = httpx.Client(
            auth=self._sign,
            # Offsets and digests are those of the bytes as they were written.
            headers={"Accept-Encoding": "identity"},
            timeout=timeout,
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

    # --- jobs ---------------------------------------------------------------------------------

    def submit(self, submission: Mapping[str, Any]) -> Job:
        return cast(Job, self._ask("POST", "/api/jobs", json=submission))

    def job(self, job_id: int) -> Job:
        return cast(Job, self._ask("GET", f"/api/jobs/{job_id}"))

    def jobs(self) -> Iterator[Job]:
        """Our own, newest first, asked for as they are needed."""
        start: int | None = None
        while True:
            page = self._ask("GET", "/api/jobs", params={"start": start} if start else {})
            yield from page["results"]
            start = page["next"]
            if start is None:
                return

    def manifest(self, job_id: int) -> str:
        with self._answer("GET", f"/api/jobs/{job_id}/manifest") as response:
            return response.read().decode()

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

    def download(self, artifact: Artifact, directory: Path, told: Told = _ignore) -> Path:
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
                    told(len(chunk))
            if digest.hexdigest() != artifact["sha256"]:
                raise Damaged(f"{target.name}: arrived damaged, its SHA-256 differs")
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target

    # --- everything else ----------------------------------------------------------------------

    def graphql(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        files: Mapping[str, IO[bytes]] | None = None,
        told: Told = _ignore,
    ) -> Any:
        """The data that the query is answered with, all of it, or Incomplete.

        `files` are sent as variables, by their paths: "tree", or "secret.upload"; `variables` has
        None there. What a file holds is never in memory as a whole.
        """
        operation = {"query": query, "variables": dict(variables or {})}
        answer = (
            self._ask("POST", "/query", **_multipart(operation, files, told))
            if files
            else self._ask("POST", "/query", json=operation)
        )
        if reasons := _reasons_in(answer):
            if UNAVAILABLE in map(_code, answer["errors"]):
                raise ServerAway(f"{self.url}: {reasons}")
            raise Incomplete(reasons, answer.get("data"))
        if not (isinstance(answer, dict) and isinstance(answer.get("data"), dict)):
            raise Refused(f"{self.url}/query: answered, but not as GraphQL does")
        return answer["data"]

    def listed(self, query: str, *path: str) -> Iterator[dict[str, Any]]:
        """All of a list that comes in pages. The query takes `$cursor`, and answers with a page at
        `path`."""
        cursor = None
        while True:
            page = self.graphql(query, {"cursor": cursor})
            for name in path:
                page = page[name]
            yield from page["results"]
            cursor = page["cursor"]
            if cursor is None:
                return

    def post_form(self, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """What an OAuth endpoint answers, also if that is an error, which has the key `error`."""
        answer = self._ask("POST", path, data=dict(fields), accept=(400, 401, 429))
        return cast(dict[str, Any], answer)

    def _sign(self, request: httpx.Request) -> httpx.Request:
        token = self._token() if callable(self._token) else self._token
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

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
        # There is more in a moment.
        if response.is_server_error or response.status_code == TOO_MANY:
            return ServerAway(f"{self.url}: {status}: {reasons}")
        if response.status_code == UNAUTHORIZED:
            return Refused(f"{reasons} (`buildsrht login` gets another token)")
        return Refused(reasons)


def _reasons(response: httpx.Response) -> str:
    """All the problems that an error of the API names; empty for an answer of somebody else."""
    try:
        return _reasons_in(response.json())
    except ValueError:
        return ""


def _reasons_in(answer: Any) -> str:
    """The same of an answer that has been read, which may be one of GraphQL."""
    try:
        return "; ".join(map(_reason, answer.get("errors") or ()))
    except (LookupError, TypeError, AttributeError):
        return ""


def _reason(error: Mapping[str, Any]) -> str:
    reason: str = error["message"] if "message" in error else error["reason"]
    return f"{error['field']}: {reason}" if error.get("field") else reason


def _code(error: Mapping[str, Any]) -> str | None:
    return (error.get("extensions") or {}).get("code")


def _multipart(
    operation: Mapping[str, Any], files: Mapping[str, IO[bytes]], told: Told
) -> dict[str, Any]:
    """A request as the GraphQL multipart request specification has it."""
    paths = list(files)
    return {
        "data": {
            "operations": json.dumps(operation),
            "map": json.dumps({str(at): [f"variables.{path}"] for at, path in enumerate(paths)}),
        },
        "files": {
            str(at): (path.rpartition(".")[2], _Watched(files[path], told))
            for at, path in enumerate(paths)
        },
        "timeout": UPLOAD_TIMEOUT,
    }


class _Watched:
    """A file that tells how much of it was read: what of a file httpx needs, and no more."""

    def __init__(self, file: IO[bytes], told: Told):
        self._file = file
        self._told = told

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._told(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _plain_name(name: str) -> str:
    """The name of a file right where it is saved, never a way to somewhere else."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise Damaged(f"{name!r}: cannot be the name of a file")
    return name
