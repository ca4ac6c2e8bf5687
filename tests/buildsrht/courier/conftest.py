"""Receivers that really listen, and jobs that tell them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import func, update

from buildsrht.backend import Backend
from buildsrht.config import destinations
from buildsrht.courier import delivery
from buildsrht.models import Delivery, Job


@dataclass(frozen=True)
class Request:
    path: str
    headers: Message
    body: bytes


@dataclass
class Receiver:
    """Answers each request with the next of `answers`, and then with 200."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)

    def will_answer(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.answers.append((status, headers or {}, body))


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(Request(self.path, self.headers, body))
            status, headers, said = receiver.answers.pop(0) if receiver.answers else (200, {}, b"")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def backend(backend: Backend) -> Backend:
    """One whose operator lets webhooks reach this machine."""
    courier = replace(backend.config.courier, allow=destinations("127.0.0.1"))
    return replace(backend, config=replace(backend.config, courier=courier))


@pytest.fixture
def end_job(make_job) -> Callable[..., Job]:
    """A job that has just ended, with these triggers: `end_job({...}, status="failed")`."""

    def end(*triggers: dict[str, str], status: str = "success", **fields: object) -> Job:
        text = json.dumps(
            {
                "image": "debian/trixie",
                "tasks": [{"build": "make"}, {"_quiet": "true"}, {"test": "make check"}],
                "triggers": triggers,
            }
        )
        return make_job(status, manifest=text, **fields)

    return end


@pytest.fixture
def deliveries(backend: Backend) -> Callable[[], list[Delivery]]:
    """All there are, as they are in the database now."""

    def fetch() -> list[Delivery]:
        with backend.transaction() as session:
            return session.query(Delivery).order_by(Delivery.id).all()

    return fetch


@pytest.fixture
def attempt(backend: Backend, deliveries) -> Callable[[], Delivery]:
    """Let a courier attempt what is due; returns what became of the newest delivery."""

    def make() -> Delivery:
        delivery.perform(backend)
        return deliveries()[-1]

    return make


@pytest.fixture
def make_due(backend: Backend) -> Callable[[], None]:
    """Let the time come at which each delivery is tried again."""

    def make() -> None:
        with backend.transaction() as session:
            session.execute(update(Delivery).values(due=func.now()))

    return make


def webhook(url: str, condition: str = "always") -> dict[str, str]:
    return {"action": "webhook", "condition": condition, "url": url}


def email(to: str = "ada@example.org", condition: str = "always", **more: str) -> dict[str, str]:
    return {"action": "email", "condition": condition, "to": to, **more}
