"""The whole service as an operator starts it, with real machines: `buildsrht up`, two workers.

What can be shown without a machine is shown elsewhere, faster. Here a batch of jobs is submitted
at once and each test looks at its own; the tests that end jobs in rude ways come after it.
"""

import hashlib
import os
import re
import signal
import string
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from buildsrht import config as settings
from buildsrht.backend import Backend, open_backend
from buildsrht.client import Client
from buildsrht.services.ssh_keys import add_key
from buildsrht.services.users import ensure_user
from tests.whole_service import whole_service
from tests.worker.conftest import FIRST_MIRROR, IMAGE, own_addresses
from tests.worker.outcome import keys_that_stay
from tests.worker.repositories import git, make_repository, serving
from worker.janitor import pids_naming

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
JOB_SECONDS = 1200
LOG_LIMIT = "24MiB"

TWENTY_MEGABYTES = "seq 1 2700000"
SMALL = [f"small-{n}" for n in range(10)]
BATCH = {
    **{name: f"image: {IMAGE}\ntasks: [{{build: echo {name}}}]\n" for name in SMALL},
    "hello": (ROOT / "examples/hello.yml").read_text(),
    "figlet": (ROOT / "examples/figlet.yml").read_text(),
    "large-log": f"image: {IMAGE}\ntasks: [{{build: {TWENTY_MEGABYTES}}}]\n",
    "endless": f"image: {IMAGE}\ntasks: [{{build: 'yes'}}, {{never: 'true'}}]\n",
}


@dataclass(frozen=True)
class Service:
    client: Client
    backend: Backend

    def submit(self, script: str) -> int:
        manifest = f"image: {IMAGE}\ntasks:\n- build: |\n    {script}\n"
        return self.client.submit({"manifest": manifest})["id"]

    def wait_until(self, condition, seconds: float = JOB_SECONDS):
        """What `condition` returns once it is true of the answer."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.05)
        return found

    def finished(self, job_id: int, seconds: float = JOB_SECONDS):
        def final():
            job = self.client.job(job_id)
            return job if job["status"] not in ("pending", "queued", "running") else None

        return self.wait_until(final, seconds)

    def log(self, job, task: str | None = None) -> bytes:
        urls = {each["name"]: each["log"] for each in job["tasks"]}
        return httpx.get(urls[task] if task else job["setup_log"]).raise_for_status().content

    def wait_for_log(self, job_id: int, text: bytes) -> None:
        job = self.client.job(job_id)
        self.wait_until(lambda: text in self.log(job, "build"))


@pytest.fixture(scope="module")
def mirror(real_machine) -> str:
    """The package mirror that images use."""
    said = []
    real_machine.guest.run(["bash", "-c", FIRST_MIRROR], said.append)
    return b"".join(said).decode().strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The address of a git repository on this host, served over HTTP."""
    path = tmp_path_factory.mktemp("git") / "project"
    make_repository(path, {"main.c": "first\n"})
    git(path, "tag", "v1")
    (path / "main.c").write_text("second\n")
    git(path, "commit", "-qam", "second")
    with serving(path, own_addresses()[0]) as address:
        yield address


@pytest.fixture(scope="module")
def service(tmp_path_factory, host_config, repository):
    # Two jobs at a time share this host's processors, as an operator would have it.
    cpus = max(1, (os.cpu_count() or 1) // 2)
    configuration = (
        f"[images]\npath = {host_config.images.path}\n[limits]\nlog = {LOG_LIMIT}\n"
        f"[worker]\ncount = 2\ncpus = {cpus}\n"
        f"[network]\nallow = {urlsplit(repository).netloc}\n"
    )
    with whole_service(tmp_path_factory.mktemp("service"), configuration) as whole:
        create = ("token", "create", "--user", "tester", "--scopes", "jobs:write")
        token = whole.command(*create)
        backend = open_backend(settings.load(whole.environment))
        with Client(whole.url, token) as client, closing(backend):
            yield Service(client, backend)


@pytest.fixture(scope="module")
def batch(service: Service, mirror: str, repository: str) -> dict[str, int]:
    """The ids of the jobs of BATCH and two more, all submitted before the first is looked at."""
    manifests = {
        **BATCH,
        "older": f"""
image: debian/oldstable
repositories:
  backports: {mirror} bookworm-backports main
packages: [hello]
tasks:
- build: hello; grep -r backports /etc/apt/sources.list.d
""",
        "sources": f"""
image: {IMAGE}
sources: ["{repository}", "old::{repository}#v1"]
tasks:
- build: cat project/main.c old/main.c
""",
    }
    return {
        name: service.client.submit({"manifest": manifest})["id"]
        for name, manifest in manifests.items()
    }


# --- the batch ------------------------------------------------------------------------------------


def test_ten_jobs_submitted_at_once_to_two_workers_all_succeed(service, batch):
    for name in SMALL:
        job = service.finished(batch[name])
        assert job["status"] == "success", service.log(job)
        assert service.log(job, "build") == f"+ echo {name}\n{name}\n".encode()


def test_the_first_example_keeps_its_greeting(service, batch, tmp_path):
    job = service.finished(batch["hello"])
    assert job["status"] == "success", service.log(job)
    [artifact] = service.client.artifacts(job["id"])
    assert httpx.get(artifact["url"]).content == b"hello from buildsrht\n"


def test_a_program_from_the_archive_is_built_and_tested_and_runs_here(service, batch, tmp_path):
    job = service.finished(batch["figlet"])
    assert job["status"] == "success", service.log(job) + service.log(job, "build")
    assert b" tests passed" in service.log(job, "test").lower()
    [artifact] = service.client.artifacts(job["id"])
    program = tmp_path / "figlet"
    program.write_bytes(httpx.get(artifact["url"]).content)
    assert program.read_bytes().startswith(b"\x7fELF")


def test_a_log_of_twenty_megabytes_arrives_whole_and_in_order(service, batch):
    job = service.finished(batch["large-log"])
    expected = b"+ seq 1 2700000\n" + b"".join(b"%d\n" % n for n in range(1, 2_700_001))
    received = service.log(job, "build")
    assert len(received) == len(expected) > 20_000_000
    assert hashlib.sha256(received).digest() == hashlib.sha256(expected).digest()


def test_a_job_that_writes_for_ever_is_cut_and_fails_cleanly(service, batch):
    job = service.finished(batch["endless"])
    assert job["status"] == "failed"
    assert [task["status"] for task in job["tasks"]] == ["failed", "pending"]
    log = service.log(job, "build")
    assert log.endswith(b" bytes that it may; its log is cut here.\n")
    assert 24 * 2**20 - 1000 < len(log) < 24 * 2**20 + 1000


def test_repositories_and_packages_work_in_the_older_release_too(service, batch):
    job = service.finished(batch["older"])
    assert job["status"] == "success", service.log(job)
    assert b"Hello, world!" in service.log(job, "build")
    assert b"bookworm-backports" in service.log(job)


def test_sources_are_cloned_over_the_network_at_the_ref_asked_for(service, batch):
    job = service.finished(batch["sources"])
    assert job["status"] == "success", service.log(job)
    assert service.log(job, "build").endswith(b"\nsecond\nfirst\n")


def test_nothing_is_left_behind_by_the_batch(service, batch):
    for job_id in batch.values():
        service.finished(job_id)
    assert_nothing_is_left(service)


def assert_nothing_is_left(service):
    work = service.backend.config.worker.path
    # Spares wait for jobs to come.
    kept = [path.name for path in work.iterdir() if not path.name.startswith("spare-")]
    assert kept == []
    # A run's directory begins with the number of its job.
    assert [pid for digit in string.digits for pid in pids_naming(f"{work}/{digit}")] == []
    # RQ takes a moment to forget a job that has just returned.
    service.wait_until(lambda: not keys_of_jobs(service), seconds=10)


def keys_of_jobs(service) -> list[str]:
    """Keys in Redis that are about some job; RQ keeps others about its workers."""
    redis = service.backend.redis
    return [*keys_that_stay(redis), *map(bytes.decode, redis.scan_iter("*job-*"))]


# --- a failed build is looked into ----------------------------------------------------------------


class Ssh:
    """OpenSSH's client, with a new key pair."""

    def __init__(self, directory: Path, port: int):
        self.key = directory / "key"
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)]
        subprocess.run(keygen, check=True)
        self.options = [
            *("-i", str(self.key), "-F", "none", "-o", "IdentitiesOnly=yes"),
            *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"),
            *("-o", f"UserKnownHostsFile={directory}/known-hosts", "-o", f"Port={port}"),
            *("-o", "LogLevel=ERROR"),
        ]

    def register(self, service, user: str) -> None:
        with service.backend.transaction() as session:
            ensure_user(session, user)
        add_key(service.backend, user, self.key.with_suffix(".pub").read_text())

    def __call__(self, *words: str, program: str = "ssh", input: bytes = b""):
        command = [program, *self.options, *words]
        return subprocess.run(command, input=input, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def new_ssh(service, tmp_path_factory):
    return lambda: Ssh(tmp_path_factory.mktemp("ssh"), service.backend.config.ssh.port)


def test_a_failed_build_is_looked_into_copied_from_and_left(service, new_ssh, tmp_path):
    ssh, strangers, unknown = new_ssh(), new_ssh(), new_ssh()
    ssh.register(service, "tester")
    strangers.register(service, "stranger")
    job = service.finished(service.submit("echo precious >file; (exit 7)"))
    assert job["status"] == "failed"

    # Its log has the exact command.
    *_, announced, command = service.log(job).decode().splitlines()
    assert "The owner of the job gets into it by:" in announced
    port = service.backend.config.ssh.port
    assert command == f"ssh -p {port} -t builds@127.0.0.1 connect {job['id']}"
    here, connect = "builds@127.0.0.1", ("connect", str(job["id"]))

    # Nobody else gets in.
    assert b"Permission denied" in unknown(here, *connect).stderr
    refused = strangers(here, *connect)
    assert (refused.returncode, refused.stdout) == (255, b"")
    assert b"~tester, who alone may connect to it" in refused.stderr
    assert b"there is no job 4711" in ssh(here, "connect", "4711").stderr

    # A command with its exit status, and a file.
    done = ssh(here, *connect, "cat file; id -un; exit 5")
    assert (done.returncode, done.stdout) == (5, b"precious\nbuild\n"), done.stderr
    copied = ssh(f"{job['id']}@127.0.0.1:file", str(tmp_path / "copy"), program="scp")
    assert (tmp_path / "copy").read_bytes() == b"precious\n", copied.stderr

    # Others build meanwhile; and whoever leaves the shell ends the machine.
    other = service.submit("echo meanwhile")
    assert service.finished(other)["status"] == "success"
    left = ssh("-tt", here, *connect, input=b"stty size; exit\n")
    assert left.returncode == 0, left.stderr
    gone = ssh(here, *connect)
    assert gone.returncode == 255
    assert b"its owner left it" in gone.stderr
    assert list(service.backend.config.ssh.path.glob("[0-9]*")) == []
    assert_nothing_is_left(service)


def test_a_job_is_submitted_and_followed_by_ssh(service, new_ssh):
    ssh = new_ssh()
    ssh.register(service, "tester")
    manifest = f"image: {IMAGE}\ntasks:\n- build: |\n\techo by-ssh\n".encode()
    submitted = ssh("builds@127.0.0.1", "submit", "-n", "'a note'", "-t", "One/two", input=manifest)
    url = submitted.stdout.decode().strip()
    assert url.startswith(f"{service.backend.config.web.origin}/~tester/job/"), submitted.stderr
    job_id = url.rpartition("/")[2]
    tailed = ssh("builds@127.0.0.1", "tail", job_id)
    assert tailed.returncode == 0
    assert tailed.stderr.endswith(b": success\n")
    assert b"\n+ echo by-ssh\nby-ssh\n" in tailed.stdout
    job = service.client.job(int(job_id))
    assert (job["note"], job["tags"]) == ("a note", "One/two")


# --- rude endings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reasons"),
    [
        ("echo going; sudo systemctl poweroff; sleep 60", {b"shut down from inside"}),
        (
            "echo going; echo c | sudo tee /proc/sysrq-trigger; sleep 60",
            {b"kernel panicked", b"sysrq triggered crash"},
        ),
    ],
)
def test_a_guest_that_ends_by_itself_fails_its_job_within_ten_seconds(service, script, reasons):
    job_id = service.submit(script)
    service.wait_for_log(job_id, b"\ngoing")
    job = service.finished(job_id, seconds=10)
    assert job["status"] == "failed"
    assert b"The machine was lost: " in service.log(job, "build")
    assert all(reason in service.log(job, "build") for reason in reasons)
    assert_nothing_is_left(service)


def test_a_cancel_ends_a_running_and_a_queued_job_within_two_seconds(service):
    running, also_running, queued = (service.submit("echo going; sleep 600") for _ in range(3))
    service.wait_for_log(running, b"\ngoing")
    for job_id in (queued, running):
        service.client.cancel(job_id)
        assert service.finished(job_id, seconds=2)["status"] == "cancelled"
    assert pids_naming(f"{service.backend.config.worker.path}/{running}-") == []
    service.client.cancel(also_running)
    assert service.finished(also_running, seconds=2)["status"] == "cancelled"
    assert_nothing_is_left(service)


def test_a_killed_work_horse_takes_its_machine_with_it_and_its_job_fails(service):
    job_id = service.submit("echo going; sleep 600")
    service.wait_for_log(job_id, b"\ngoing")
    directory = next(service.backend.config.worker.path.glob(f"{job_id}-*"))
    os.kill(int((directory / "owner").read_text().split()[0]), signal.SIGKILL)
    job = service.finished(job_id, seconds=10)
    assert job["status"] == "failed"
    assert b"The process that ran this job" in service.log(job, "build")
    assert_nothing_is_left(service)


def test_a_wiped_redis_loses_no_job_and_no_byte(service):
    first = service.submit("seq 1 1000; sleep 5; seq 1001 2000")
    service.wait_for_log(first, b"\n1000\n")
    others = [service.submit(f"echo {n}") for n in range(3)]
    service.backend.redis.flushall()
    expected = b"".join(b"%d\n" % n for n in range(1, 2001))
    job = service.finished(first)
    numbers = re.sub(rb"^\+.*\n", b"", service.log(job, "build"), flags=re.MULTILINE)
    assert numbers == expected
    assert [service.finished(job_id)["status"] for job_id in others] == ["success"] * 3
