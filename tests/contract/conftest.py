"""A service that has something of everything, for those who walk all of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from flask import Flask

from buildsrht.api import events
from buildsrht.models import Artifact, Forge, JobStatus, SecretKind, User, Visibility
from buildsrht.services import artifacts, groups, hooks, secrets, ssh_keys
from buildsrht.services.hooks import NewHook
from tests.buildsrht.hooks.reports import REPOSITORY

# What is random elsewhere: what an artifact's address, a hook and a secret are known by.
SECRET = "0123456789abcdef"
HOOK = UUID("00000000-0000-4000-8000-000000000001")
KEPT = UUID("00000000-0000-4000-8000-000000000002")
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f of tests"
)
FINGERPRINT = "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"
OTHER_KEY = PUBLIC_KEY.replace("HR4f", "HR4e")
WEBHOOK_QUERY = "{ webhook { uuid event date } }"


class Served:
    """The application of the test that runs; Schemathesis wants one before there is any test."""

    def __init__(self) -> None:
        self._app: Flask | None = None

    @contextmanager
    def serving(self, app: Flask) -> Iterator[None]:
        self._app = app
        yield
        self._app = None

    def __call__(self, environ, start_response):
        assert self._app, "no test runs"
        return self._app(environ, start_response)


@pytest.fixture(autouse=True)
def streams_end(monkeypatch):
    """When nothing more happens, also those of jobs that are not over."""
    monkeypatch.setattr(events, "LONGEST_SECONDS", 0)


@dataclass(frozen=True)
class World:
    """What `owner` has: jobs 1 to 7, one in each state, and 8 and 9, which are pending.

    All jobs are private but 8, which is in group 1; 9 is in group 2. All have logs, those of even
    jobs are complete, and an artifact. There are also a secret, a public key, a webhook with
    deliveries, and a hook that takes `forge_headers` for proof.
    """

    owner: User
    forge_headers: dict[str, str]


@pytest.fixture
def world(
    backend,
    owner,
    stranger,
    make_job,
    write_log,
    make_artifact,
    make_hook,
    make_webhook,
    make_secret,
) -> World:
    make_webhook()
    for number, state in enumerate([*JobStatus, "pending", "pending"], start=1):
        visibility = Visibility.PUBLIC if number == 8 else Visibility.PRIVATE
        job = make_job(state, note=state, tags=["world", state], visibility=visibility)
        for task in (None, "build"):
            write_log(job, task, b"as it happened\n", seal=number % 2 == 0)
        make_artifact(job)
    for number in (8, 9):
        groups.create_group(backend, owner, [number], "together", [], execute=False)
    make_secret()
    ssh_keys.add_key(backend, owner.name, PUBLIC_KEY)
    return World(owner, {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": make_hook()})


@pytest.fixture
def make_webhook(client_of, owner):
    def make() -> None:
        query = f"""mutation {{ createUserWebhook(config: {{
            url: "https://example.org", events: [JOB_CREATED, JOB_UPDATED], query: "{WEBHOOK_QUERY}"
        }}) {{ id }} }}"""
        answer = client_of(owner).post("/query", json={"query": query}).json
        assert answer == {"data": {"createUserWebhook": {"id": 1}}}

    return make


@pytest.fixture
def make_secret(backend, owner, monkeypatch):
    """The secret `deploy`."""

    def make() -> None:
        new = secrets.NewSecret(SecretKind.FILE, b"hidden", "deploy", "/home/build/x", "600")
        with monkeypatch.context() as patch:
            patch.setattr(secrets, "uuid4", lambda: KEPT)
            secrets.create_secret(backend, owner.name, new)

    return make


@pytest.fixture
def make_artifact(backend, keep_artifact):
    """The artifact `out.txt` of a job."""

    def make(job) -> None:
        made = keep_artifact(job)
        with backend.transaction() as session:
            artifact = session.get_one(Artifact, made.id)
            artifact.secret = SECRET
        backend.storage.put(artifacts.storage_key(artifact), [b"made"])

    return make


@pytest.fixture
def make_hook(backend, owner, monkeypatch):
    """A hook of a GitLab. Returns its secret."""

    def make() -> str:
        with monkeypatch.context() as patch:
            patch.setattr(hooks, "uuid4", lambda: HOOK)
            return hooks.create_hook(backend, owner.name, NewHook(Forge.GITLAB, REPOSITORY))[1]

    return make
