"""A client that costs next to nothing, so that what it measures is the server.

One connection, kept open. `buildsrht.client` is for people: it follows several logs patiently, and
takes a few milliseconds for a request.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from bench.errors import MeasurementFailed

POLL_SECONDS = 0.01
REQUEST_SECONDS = 60
UNFINISHED = ("pending", "queued", "running")
TAIL_LINES = 20


@dataclass(frozen=True)
class Job:
    """A job that was accepted; `begun` is when it was sent, by the monotonic clock."""

    begun: float
    id: int
    setup_log: str
    task_log: str


class Client:
    def __init__(self, origin: str, token: str):
        self._http = HTTPConnection(urlsplit(origin).netloc, timeout=REQUEST_SECONDS)
        self._http.connect()
        self._headers = {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, manifest: str) -> Job:
        """Submit a manifest of one task."""
        body = json.dumps({"manifest": manifest})
        begun = time.monotonic()
        answer = self._ask("POST", "/api/jobs", body)
        [task] = answer["tasks"]
        return Job(begun, answer["id"], _path(answer["setup_log"]), _path(task["log"]))

    def status(self, job: Job) -> str:
        return str(self.show(job.id)["status"])

    def show(self, job_id: int) -> Any:
        return self._ask("GET", f"/api/jobs/{job_id}")

    def read(self, log: str, offset: int) -> tuple[bytes, bool]:
        """What a log has from byte `offset` on, and whether that was its end."""
        response = self._send("GET", log, headers={"Range": f"bytes={offset}-"})
        data = response.read()
        if response.status == 416:
            return b"", True
        if response.status != 206:
            raise MeasurementFailed(f"{log}: {response.status} {data!r}")
        return data, response.headers["X-Log-Complete"] == "true"

    def follow(self, log: str, seconds: float, pause: float = POLL_SECONDS) -> Iterator[bytes]:
        """A log's pieces as they arrive, until it is complete."""
        deadline = time.monotonic() + seconds
        offset, is_complete = 0, False
        while not is_complete:
            data, is_complete = self.read(log, offset)
            if data:
                offset += len(data)
                yield data
            elif time.monotonic() > deadline:
                raise MeasurementFailed(f"{log}: not complete after {seconds} s")
            time.sleep(pause)

    def await_first_byte(self, job: Job, seconds: float) -> float:
        """When the first byte of the task's log was here, in seconds after the submit."""
        deadline = time.monotonic() + seconds
        while True:
            data, _ = self.read(job.task_log, 0)
            now = time.monotonic()
            if data:
                return now - job.begun
            if now > deadline:
                raise MeasurementFailed(self._explain(job, f"wrote nothing in {seconds} s"))
            time.sleep(POLL_SECONDS)

    def await_success(self, job: Job, seconds: float, pause: float = POLL_SECONDS) -> float:
        """When the job was said to have succeeded, in seconds after the submit."""
        deadline = time.monotonic() + seconds
        while (status := self.status(job)) in UNFINISHED:
            if time.monotonic() > deadline:
                raise MeasurementFailed(self._explain(job, f"still {status} after {seconds} s"))
            time.sleep(pause)
        finished = time.monotonic()
        if status != "success":
            raise MeasurementFailed(self._explain(job, status))
        return finished - job.begun

    def whole(self, log: str) -> bytes:
        return self.read(log, 0)[0]

    def _explain(self, job: Job, what: str) -> str:
        logs = self.whole(job.setup_log) + self.whole(job.task_log)
        tail = logs.decode(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"job {job.id}: {what}; its logs end with:", *tail])

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        response = self._send(method, path, body, {"Content-Type": "application/json"})
        text = response.read()
        if response.status != 200:
            raise MeasurementFailed(f"{method} {path}: {response.status} {text!r}")
        return json.loads(text)

    def _send(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        self._http.request(method, path, body, {**self._headers, **(headers or {})})
        return self._http.getresponse()


def _path(url: str) -> str:
    return urlsplit(url).path
