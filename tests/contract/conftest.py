"""A service that has something of everything, for those who walk all of it."""

from dataclasses import dataclass
from uuid import UUID

import pytest

from buildsrht.models import Artifact, Forge, JobStatus, User, Visibility
from buildsrht.services import artifacts, groups
from buildsrht.services import hooks as hook_service
from tests.buildsrht.hooks.reports import REPOSITORY

# What is random elsewhere: an artifact's address, and a hook's.
SECRET = "0123456789abcdef"
HOOK = UUID("00000000-0000-4000-8000-000000000000")


@dataclass(frozen=True)
class World:
    """Jobs 1 to 7 of `owner`, one in each state, and 8 and 9, which are pending.

    All are private but 8, which is in group 1; 9 is in group 2. All have logs, those of even jobs
    are complete, and an artifact. A hook has `forge_headers` as its proof.
    """

    owner: User
    forge_headers: dict[str, str]


@pytest.fixture
def world(backend, owner, make_job, write_log, make_artifact, make_hook) -> World:
    for number, state in enumerate([*JobStatus, "pending", "pending"], start=1):
        visibility = Visibility.PUBLIC if number == 8 else Visibility.PRIVATE
        job = make_job(state, note=state, tags=["world", state], visibility=visibility)
        for task in (None, "build"):
            write_log(job, task, b"as it happened\n", seal=number % 2 == 0)
        make_artifact(job)
    for number in (8, 9):
        groups.create_group(backend, owner, [number], "together", [], execute=False)
    return World(owner, {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": make_hook()})


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
        monkeypatch.setattr(hook_service, "uuid4", lambda: HOOK)
        wanted = hook_service.NewHook(Forge.GITLAB, REPOSITORY)
        return hook_service.create_hook(backend, owner.name, wanted)[1]

    return make
