"""sourcehutx, a Python library for sourcehut's services, for what it has of builds and of meta.

It makes the address of each service from its name and one domain; the client that it is given here
finds both at the server under test.
"""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import pytest
from sourcehut.client import SRHT_SERVICE, VISIBILITY, FileUpload, SrhtClient
from sourcehut.exceptions import ResourceNotFoundError, SrhtClientError
from sourcehut.services.builds import JOB_STATUS, BuildsSrhtClient, SecretFile
from sourcehut.services.meta import MetaSrhtClient

from buildsrht.models import JobStatus, SecretKind, User, Visibility
from buildsrht.services.secrets import NewSecret, create_secret
from tests.clients.conftest import RUNNER
from tests.clients.hut import GRANTS
from tests.worker.fakes import fake_boot, perform

DOMAIN = "example.org"
GOOD = "image: debian/trixie\ntasks:\n- build: echo made\n"

Answer = TypeVar("Answer")
Ask = Callable[[Callable[[SrhtClient], Awaitable[Answer]]], Answer]


class AtOneAddress(httpx.AsyncHTTPTransport):
    """Every service of the domain is the server at `origin`."""

    def __init__(self, origin: str):
        super().__init__()
        self._origin = httpx.URL(origin)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        service, _, domain = request.url.host.partition(".")
        assert (service, domain) in {("builds", DOMAIN), ("meta", DOMAIN)}
        request.url = request.url.copy_with(
            scheme=self._origin.scheme, host=self._origin.host, port=self._origin.port
        )
        return await super().handle_async_request(request)


@pytest.fixture
def ask_as(live, token) -> Callable[[User], Ask]:
    """Have a user's client do something: `ask_as(owner)(lambda client: client.version(...))`."""

    def make(user: User, *scopes: str) -> Ask:
        text = token(user, *(scopes or GRANTS))

        def ask(action):
            async def run():
                http = httpx.AsyncClient(transport=AtOneAddress(live.config.web.origin))
                async with SrhtClient(DOMAIN, text, http) as client:
                    return await action(client)

            return asyncio.run(run())

        return ask

    return make


@pytest.fixture
def ask(ask_as, owner: User) -> Ask:
    return ask_as(owner)


@pytest.fixture
def builds(ask) -> Callable:
    """`builds(lambda builds: builds.get_job(1))`"""
    return lambda action: ask(lambda client: action(BuildsSrhtClient(client)))


@pytest.fixture
def meta(ask) -> Callable:
    return lambda action: ask(lambda client: action(MetaSrhtClient(client)))


async def everything(pages) -> list:
    return [each async for each in pages]


# --- the service ----------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [SRHT_SERVICE.BUILDS, SRHT_SERVICE.META])
def test_who_asks_and_the_version_are_answered(ask, service):
    assert ask(lambda client: client.whoami(service)) == "owner"
    version = ask(lambda client: client.version(service))
    assert [type(number) for number in version] == [int] * 3


# --- jobs -----------------------------------------------------------------------------------------


def test_a_job_is_submitted_with_all_that_can_be_said(builds, fetch):
    job = builds(
        lambda builds: builds.submit(
            GOOD,
            tags=["project", "main"],
            note="*why*",
            secrets=False,
            execute=False,
            visibility=VISIBILITY.PRIVATE,
        )
    )
    row = fetch(job.id)
    assert (row.manifest, row.note, row.tags) == (GOOD, "*why*", ["project", "main"])
    assert (row.secrets, row.status, row.visibility) == (
        *(False, JobStatus.PENDING),
        Visibility.PRIVATE,
    )
    assert (job.status, job.visibility) == (JOB_STATUS.PENDING, VISIBILITY.PRIVATE)
    assert (job.owner, job.image, job.runner) == ("owner", "debian/trixie", None)
    assert (job.manifest, job.note, job.tags) == (GOOD, "*why*", ["project", "main"])
    assert job.created == row.created.replace(microsecond=0)


def test_a_job_is_submitted_with_nothing_said(builds, fetch):
    job = builds(lambda builds: builds.submit(GOOD))
    row = fetch(job.id)
    assert (row.note, row.tags, row.visibility) == (None, [], Visibility.UNLISTED)
    assert row.status == JobStatus.QUEUED


def test_a_manifest_that_is_no_good_is_explained(builds, row_counts):
    before = row_counts()["job"]
    with pytest.raises(SrhtClientError, match="tasks"):
        builds(lambda builds: builds.submit("image: debian/trixie\n"))
    assert row_counts()["job"] == before


def test_a_job_is_started_run_and_looked_at_again(builds, live):
    async def submit_and_start(builds):
        job = await builds.submit(GOOD, execute=False)
        started = await job.start()
        return job.id, started.status

    job_id, status = builds(submit_and_start)
    assert status == JOB_STATUS.QUEUED
    perform(live, job_id, fake_boot)
    job = builds(lambda builds: builds.get_job(job_id))
    assert (job.status, job.runner) == (JOB_STATUS.SUCCESS, RUNNER)
    assert builds(lambda builds: builds.get_job_status(job_id)).succeeded


def test_a_job_is_cancelled(builds, make_job, fetch):
    waiting = make_job()
    job = builds(lambda builds: builds.cancel(waiting.id))
    assert job.id == waiting.id
    assert fetch(waiting.id).status == JobStatus.CANCELLED
    with pytest.raises(SrhtClientError, match="cancelled"):
        builds(lambda builds: builds.cancel(waiting.id))


def test_jobs_are_listed_over_all_pages(builds, make_job):
    for _ in range(60):
        make_job("pending")
    first = builds(lambda builds: everything(builds.list_jobs()))
    assert [job.id for job in first] == [*range(60, 60 - len(first), -1)]
    assert len(first) < 60
    every = builds(lambda builds: everything(builds.list_jobs(max_pages=None)))
    assert [job.id for job in every] == [*range(60, 0, -1)]


def test_secrets_are_listed(builds, live, owner):
    kept = NewSecret(SecretKind.FILE, b"x", name="netrc", path="~/.netrc", mode="640")
    row = create_secret(live, owner.name, kept)
    [secret] = builds(lambda builds: everything(builds.list_secrets()))
    assert isinstance(secret, SecretFile)
    assert (secret.uuid, secret.name) == (str(row.uuid), "netrc")
    assert (secret.path, secret.mode) == ("~/.netrc", 0o640)


def test_a_token_may_do_what_it_was_made_for(ask_as, owner, make_job):
    make_job()
    ask = ask_as(owner, "JOBS:RO", "PROFILE:RO")
    assert ask(lambda client: BuildsSrhtClient(client).get_job(1)).id == 1
    with pytest.raises(SrhtClientError, match="JOBS:RW"):
        ask(lambda client: BuildsSrhtClient(client).cancel(1))


def test_a_file_is_uploaded(ask):
    mutation = """mutation($file: Upload!) {
        createSecret(secret: {type: FILE, name: "netrc", path: "~/.netrc", upload: $file}) { name }
    }"""
    upload = {"file": FileUpload(b"machine example.org\n", "netrc")}
    answer = ask(
        lambda client: client._query_with_upload(SRHT_SERVICE.BUILDS, mutation, {}, upload)
    )
    assert answer == {"createSecret": {"name": "netrc"}}


# --- the account ----------------------------------------------------------------------------------


def test_users_are_described(meta, owner, stranger):
    me = meta(lambda meta: meta.get_user())
    assert (me.username, me.canonical_name) == ("owner", "~owner")
    assert (me.url, me.location, me.bio) == (None, None, None)
    other = meta(lambda meta: meta.get_user_ref("stranger"))
    assert (other.username, other.email) == ("stranger", "")
    assert meta(lambda meta: meta.get_user("stranger")).id == stranger.id
    with pytest.raises(ResourceNotFoundError):
        meta(lambda meta: meta.get_user("nobody"))


def test_ssh_keys_are_created_found_listed_and_deleted(meta, tmp_path):
    generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "at home"]
    subprocess.run([*generate, "-f", str(tmp_path / "key")], check=True)
    public = (tmp_path / "key.pub").read_text()

    key = meta(lambda meta: meta.create_ssh_key(public))
    assert (key.user, key.comment, key.last_used) == ("owner", "at home", None)
    assert key.key.split()[:2] == public.split()[:2]
    assert meta(lambda meta: meta.get_ssh_key(key.fingerprint)).id == key.id
    assert meta(lambda meta: meta.get_ssh_key_ref(key.fingerprint)).user == "owner"
    listed = meta(lambda meta: everything(meta.list_ssh_keys()))
    assert [each.fingerprint for each in listed] == [key.fingerprint]
    assert meta(lambda meta: meta.delete_ssh_key(key.id)).id == key.id
    assert meta(lambda meta: everything(meta.list_ssh_keys())) == []
    with pytest.raises(ResourceNotFoundError):
        meta(lambda meta: meta.get_ssh_key(key.fingerprint))
