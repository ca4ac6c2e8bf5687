"""What there is to see on the pages: people, and something of everything that they can have.

The words are such as people write, short and long: pages have to bear both.
"""

from dataclasses import dataclass
from uuid import UUID

from buildsrht.backend import Backend
from buildsrht.models import Forge, Job, SecretKind, User, Visibility
from buildsrht.services import (
    accounts,
    clients,
    devices,
    grants,
    groups,
    hooks,
    jobs,
    password_resets,
    runners,
    secrets,
    ssh_keys,
    tokens,
    webhooks,
)
from buildsrht.services.hooks import NewHook
from buildsrht.services.secrets import NewSecret
from tests.build_host import BuildHost
from tests.buildsrht.hooks.reports import REPOSITORY
from tests.buildsrht.oauth.asking import CHALLENGE, REDIRECT_URI
from tests.contract.conftest import PUBLIC_KEY, WEBHOOK_QUERY

PASSWORD = "correct horse battery"
MANIFEST = """\
image: debian/trixie
packages: [build-essential, python3-pytest]
sources: [https://forge.example.org/~ada/hello-world]
environment: {PREFIX: /usr/local}
artifacts: [hello-world/dist/hello-world-1.0.tar.gz]
tasks:
- configure: cd hello-world && ./configure
- build: make -C hello-world
- test: make -C hello-world check
"""
NOTE = "[Add a *greeting*](https://forge.example.org/~ada/hello-world) for every language\n\nAda"
SETUP = "Started debian/trixie.\nCloned https://forge.example.org/~ada/hello-world.\n"
BUILD = (
    "+ make -C hello-world\n\x1b[1mcc\x1b[0m -O2 -c hello.c\n"
    "hello.c:7:5: \x1b[35mwarning:\x1b[0m unused variable 'a' https://example.org/docs#warnings\n"
    f"cc {' '.join(f'-Iinclude/{name}' for name in range(60))} -o hello hello.o\n"
    " 10%\r 50%\r100%\ndone\n"
)
TEST = "+ make -C hello-world check\ntest_hello ... ok\ntest_bye ... \x1b[31mFAILED\x1b[0m\n"


@dataclass(frozen=True)
class World:
    """`ada` has everything, `root` administers; `names` are what paths in pages.py name."""

    backend: Backend
    ada: User
    root: User
    names: dict[str, object]

    def user(self, who: str) -> User | None:
        return {"ada": self.ada, "root": self.root, "nobody": None}[who]


@dataclass(frozen=True)
class _Bearer:
    """Ada, by a token that is good for all."""

    user: User
    scopes: tuple[str, ...] = ("JOBS:RO", "LOGS:RO", "PROFILE:RO")
    client_id: int | None = None
    token_id: int | None = None


def make_world(backend: Backend) -> World:
    accounts.create_user(backend, "ada", "ada@example.org")
    ada = accounts.set_password(backend, "ada", PASSWORD)
    root = accounts.create_user(backend, "root", "root@example.org", admin=True)
    names = {
        "webhook": _make_webhook(backend, ada),
        **_make_jobs(backend, ada),
        **_make_programs(backend, ada),
        **_make_keepsakes(backend, ada),
        "reset": _forget_password(backend, ada),
    }
    _make_hosts(backend)
    return World(backend, ada, root, names)


def _make_hosts(backend: Backend) -> None:
    """One with something of everything, and one that is new."""
    saved = {"image": "debian/trixie", "arch": "amd64", "made": 1_790_000_000}
    used = {"size": 300 * 2**20, "used": 1_790_003_600}
    facts = {
        "slots": {"all": 2, "busy": 1, "paused": 0},
        "disk": {"free": 3 * 2**30, "reserve": 4 * 2**30},
        "accelerator": "kvm",
        "images": [
            {"name": "debian/trixie", "arch": "amd64", "version": "0" * 16, "built": 1_790_000_000}
        ],
        "templates": [{"key": "a" * 24, **saved, **used}],
        "layers": [{"key": "b" * 24, "packages": "build-essential gcc make", **saved, **used}],
        "spares": 2,
        "kept": 1,
    }
    runners.report(backend, "host-1.example.org", facts)
    runners.report(backend, "host-2.example.org", {})


# --- jobs -----------------------------------------------------------------------------------------


def _make_jobs(backend: Backend, ada: User) -> dict[str, object]:
    """One in each state, by its name. Those that ended have something to show of it."""
    by_state = {
        "success": _succeed(backend, _submit(backend, ada)),
        "failed": _fail(backend, _submit(backend, ada)),
        "timeout": _end(backend, _submit(backend, ada), "timeout"),
        "cancelled": _end(backend, _submit(backend, ada), "cancelled"),
        "running": _begin(backend, _submit(backend, ada)),
        "queued": _submit(backend, ada, tags=["a-tag-" + 9 * "that-is-long-"], note="x" * 300),
        "pending": _submit(backend, ada, execute=False, visibility=Visibility.PRIVATE),
    }
    groups.create_group(backend, ada, [by_state["pending"].id], "together", [], execute=False)
    return {state: job.id for state, job in by_state.items()}


def _submit(backend: Backend, ada: User, **fields) -> Job:
    plan = jobs.read_manifest(backend.catalogue, MANIFEST)
    given = {"note": NOTE, "tags": ["hello", "main"], "visibility": Visibility.PUBLIC, **fields}
    return jobs.submit(backend, ada, jobs.Submission(plan, **given))


def _begin(backend: Backend, job: Job) -> Job:
    host = BuildHost(backend, job.id)
    host.write(None, SETUP)
    host.start("configure")
    host.end("configure")
    host.start("build")
    host.write("build", BUILD)
    return job


def _succeed(backend: Backend, job: Job) -> Job:
    host = BuildHost(backend, job.id)
    host.write(None, SETUP)
    for task, log in (("configure", "checking for cc... cc\n"), ("build", BUILD), ("test", "ok\n")):
        host.start(task)
        host.write(task, log)
        host.end(task)
    host.keep("hello-world/dist/hello-world-1.0.tar.gz", b"made")
    host.finish()
    return job


def _fail(backend: Backend, job: Job) -> Job:
    host = BuildHost(backend, job.id)
    host.write(None, SETUP)
    for task, log, status in (("configure", "", "success"), ("build", BUILD + TEST, "failed")):
        host.start(task)
        host.write(task, log)
        host.end(task, status)
    host.write(None, "task build: exit status 2\n")
    host.finish("failed")
    return job


def _end(backend: Backend, job: Job, status: str) -> Job:
    host = BuildHost(backend, job.id)
    host.write(None, SETUP)
    host.finish(status)
    return job


# --- all else that somebody has -------------------------------------------------------------------


def _make_programs(backend: Backend, ada: User) -> dict[str, object]:
    """A program of hers, which she has let in and which asks once more, and a token."""
    client, _ = clients.register_client(
        backend,
        ada,
        name="Dashboard",
        redirect_uris=[REDIRECT_URI],
        description="Shows on the wall what was built.",
        url="https://app.example.org",
    )
    program = clients.program_of(client)
    code = grants.authorize(backend, ada, program, ["jobs:read"], REDIRECT_URI, CHALLENGE)
    grants.issue(backend, grants.find_code(backend, code))
    tokens.create_token(backend, "ada", ["jobs:read", "jobs:write"], comment="the laptop")
    begun = devices.begin(backend, program, ["jobs:read", "jobs:write"])
    return {"client_id": program.client_id, "user_code": begun.user_code}


def _make_webhook(backend: Backend, ada: User) -> int:
    """It is there before the jobs, which owe it deliveries."""
    url, events = "https://app.example.org/builds", ["JOB_CREATED", "JOB_UPDATED"]
    bearer = _Bearer(ada)
    made = webhooks.create_webhook(backend, bearer, url, events, WEBHOOK_QUERY, lambda query: None)
    return made.id


def _forget_password(backend: Backend, ada: User) -> str:
    """What mail to her has in it; nothing is sent."""
    begun = password_resets.begin(backend, ada.id)
    assert begun, "she has an address"
    return begun[1]


def _make_keepsakes(backend: Backend, ada: User) -> dict[str, UUID]:
    """Secrets, a key, and a hook."""
    for name, path in (
        ("netrc", "~/.netrc"),
        ("a-name-" + 20 * "as-long-", "~/deploy/" + 50 * "x"),
    ):
        new = NewSecret(SecretKind.FILE, b"hidden", name, path, "600")
        secret = secrets.create_secret(backend, "ada", new)
    ssh_keys.add_key(backend, "ada", PUBLIC_KEY)
    hook, _ = hooks.create_hook(backend, "ada", NewHook(Forge.GITLAB, REPOSITORY))
    return {"secret": secret.uuid, "hook": hook.uuid}
