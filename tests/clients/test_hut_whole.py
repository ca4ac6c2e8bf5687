"""A walk through the manual page of `hut`, with the whole service and real machines.

In the order of a user's day: jobs are submitted and followed, looked at, cancelled, submitted once
more; a failed one is entered by ssh; secrets, webhooks, queries of one's own, the export. Each of
Debian's releases that has `hut` walks as a user of its own, with nothing but hut's configuration
file and, for `hut builds ssh`, OpenSSH's. tests/clients/test_hut.py has the details, without
machines.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from buildsrht import config as settings
from tests.buildsrht.courier.conftest import Receiver, receiving
from tests.clients.debian import Program
from tests.clients.hut import GRANTS, Hut, configuration, job_in, job_of, wait_until
from tests.whole_service import WholeService, free_port, whole_service
from tests.worker.conftest import IMAGE, own_addresses

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

RUNNER = "build-1"
JOB_SECONDS = 600
GOOD = f"""\
image: {IMAGE}
artifacts: [made.txt]
tasks:
- build: echo precious >made.txt
- test: grep precious made.txt
"""
FAILS = f"image: {IMAGE}\ntasks:\n- build: echo precious >left; exit 7\n- test: 'true'\n"
ENDLESS = f"image: {IMAGE}\ntasks:\n- build: echo going; sleep 600\n"


@dataclass(frozen=True)
class Place:
    """A service, its address for everybody, and the same one's under another name."""

    service: WholeService
    origin: str
    other_origin: str
    receiver: Receiver


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Place]:
    port, address = free_port(), own_addresses()[0]
    cpus = max(1, (os.cpu_count() or 1) // 2)
    with receiving() as receiver:
        options = {
            # Guests reach no loopback: the job that asks about itself needs another address.
            "web": {"host": "0.0.0.0", "origin": f"http://{address}:{port}"},
            "network": {"allow": f"{address}:{port}"},
            "images": {"path": settings.load().images.path},
            "worker": {"name": RUNNER, "count": 2, "cpus": cpus},
            "ssh": {"host": "127.0.0.1", "port": free_port(), "name": "127.0.0.1"},
            "courier": {"allow": "127.0.0.1"},
        }
        text = "".join(
            f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in section.items())
            for name, section in options.items()
        )
        with whole_service(tmp_path_factory.mktemp("hut"), text, port) as service:
            yield Place(service, f"http://{address}:{port}", f"http://127.0.0.1:{port}", receiver)


@pytest.fixture(scope="module")
def hut(place: Place, hut_program: Program, tmp_path_factory) -> Hut:
    user = "ada-" + re.sub(r"[^a-z0-9]+", "-", hut_program.version)
    create = ("token", "create", "--user", user, "--scopes", " ".join(GRANTS))
    token = place.service.command(*create)
    home = tmp_path_factory.mktemp("home") / user
    return Hut(hut_program, home, configuration(token, place.origin, place.other_origin))


@pytest.fixture(scope="module")
def succeeded(hut: Hut) -> int:
    """A job that was submitted from the directory's manifest, and followed to its end."""
    hut.write(".build.yml", GOOD)
    options = ("--tags", "project/main", "--note", "*why*", "--visibility", "public")
    done = hut("builds", "submit", "--follow", *options)
    address, *log = done.out.splitlines()
    assert re.fullmatch(rf"http://[^/]+/~{hut.home.name}/job/\d+", address)
    assert "+ grep precious made.txt" in log
    assert log.count("precious") == 1
    assert log[-1] == "✔ SUCCESS"
    return job_in(address)


@pytest.fixture(scope="module")
def failed(hut: Hut) -> int:
    """One that fails, which `--follow` tells by its exit status."""
    done = hut("builds", "submit", "--follow", "-", input=FAILS, fails=True)
    assert "+ exit 7" in done.out
    assert done.out.endswith("✗ FAILED\n")
    return job_in(done.out.splitlines()[0])


def finish(hut: Hut, job_id: int) -> str:
    """What `show` says of a job that is over, when it is."""

    def shown() -> str | None:
        out = hut("builds", "show", job_id).out
        over = any(word in out for word in ("SUCCESS", "FAILED", "TIMEOUT", "CANCELLED"))
        return out if over else None

    return wait_until(shown, JOB_SECONDS)


def numbers(listed: str) -> list[int]:
    return [int(number) for number in re.findall(r"^#(\d+)", listed, re.MULTILINE)]


# --- submit, show, list ---------------------------------------------------------------------------


def test_several_manifests_are_submitted_at_once(hut: Hut):
    hut.write("one.yml", GOOD)
    hut.write("two.yml", GOOD.replace("precious", "cheap"))
    done = hut("builds", "submit", "one.yml", "two.yml", "--tags", "several")
    first, second = (job_in(address) for address in done.out.split())
    assert second > first
    for job_id in (first, second):
        assert f"#{job_id} - several: ✔ SUCCESS\n✔ build  ✔ test  \n" in finish(hut, job_id)


def test_a_job_is_shown_and_the_latest_when_none_is_named(hut: Hut, succeeded: int, failed: int):
    shown = hut("builds", "show", succeeded).out
    assert f"#{succeeded} - project/main: ✔ SUCCESS\n✔ build  ✔ test  \n\n  *why*\n" in shown
    latest = job_of(hut("builds", "submit", "-", input=FAILS))
    finish(hut, latest)
    shown = hut("builds", "show").out
    assert f"#{latest}: ✗ FAILED\n✗ build  ○ test  \n" in shown
    assert "\nbuild log:\n+ echo precious\n+ exit 7\n" in shown


def test_a_job_is_watched_until_it_is_over(hut: Hut):
    # It looks once a second: a job that waits or runs for less may not be seen doing so.
    job_id = job_of(hut("builds", "submit", "-", input=GOOD.replace("echo", "sleep 3; echo")))
    shown = hut("builds", "show", "--follow", job_id).out
    assert shown.rindex("RUNNING") < shown.rindex("SUCCESS")


def test_jobs_are_listed(hut: Hut, succeeded: int, failed: int):
    assert {succeeded, failed} <= set(numbers(hut("builds", "list").out))
    public = numbers(hut("builds", "list", f"~{hut.home.name}").out)
    assert {succeeded, failed} <= set(public), "they are one's own"
    if hut.can_update:
        by_tag = numbers(hut("builds", "list", "--tags", "project/main").out)
        assert (succeeded in by_tag, failed in by_tag) == (True, False)
        by_status = numbers(hut("builds", "list", "--status", "failed").out)
        assert (succeeded in by_status, failed in by_status) == (False, True)
        assert len(numbers(hut("builds", "list", "--count", 1).out)) == 1


def test_artifacts_are_listed_and_had(hut: Hut, succeeded: int):
    name, size, unit, address = hut("builds", "artifacts", succeeded).out.split()
    assert (name, size, unit) == ("made.txt", "9", "B")
    assert httpx.get(address).content == b"precious\n"


# --- cancel, resubmit, update ---------------------------------------------------------------------


def test_a_job_that_runs_is_cancelled(hut: Hut):
    job_id = job_of(hut("builds", "submit", "-", input=ENDLESS))
    wait_until(lambda: "RUNNING" in hut("builds", "show", job_id).out, JOB_SECONDS)
    assert f"{job_id} is cancelled" in hut("builds", "cancel", job_id).err
    assert f"#{job_id}: 🛑 CANCELLED\n" in finish(hut, job_id)


def test_a_job_is_submitted_once_more_and_followed(hut: Hut, succeeded: int):
    done = hut("builds", "resubmit", "--follow", succeeded)
    again = job_in(done.out.splitlines()[0])
    assert again > succeeded
    assert done.out.endswith("✔ SUCCESS\n")
    shown = hut("builds", "show", again).out
    assert f"Resubmission of build [#{succeeded}](/~{hut.home.name}/job/{succeeded})" in shown
    # 0.6 forgets them.
    assert (f"#{again} - project/main: " in shown) == hut.can_update


def test_what_is_said_about_a_job_is_changed(hut: Hut, failed: int):
    if not hut.can_update:
        pytest.skip(f"hut {hut.version} has no `builds update`")
    hut("builds", "update", failed, "--visibility", "private", "--tags", "a/b")
    assert f"#{failed} - a/b: " in hut("builds", "show", failed).out


# --- ssh ------------------------------------------------------------------------------------------


@pytest.fixture
def ssh_set_up(hut: Hut, place: Place) -> None:
    """What docs/hut.md has in ~/.ssh/config. OpenSSH finds that by the account, not by HOME, so
    that an `ssh` before the real one names it."""
    key = hut.home / ".ssh/id_ed25519"
    if key.exists():
        return
    key.parent.mkdir()
    generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "at home", "-f", str(key)]
    subprocess.run(generate, check=True)
    port = settings.load(place.service.environment).ssh.port
    hut.write(
        ".ssh/config",
        f"Host {RUNNER}\n    HostName 127.0.0.1\n    Port {port}\n    IdentityFile {key}\n"
        f"    StrictHostKeyChecking accept-new\n    UserKnownHostsFile {hut.home}/known-hosts\n"
        "    LogLevel ERROR\n",
    )
    hut.put_program("ssh", f'exec {shutil.which("ssh")} -F {hut.home}/.ssh/config "$@"')
    created = hut("meta", "ssh-key", "create").err
    assert "Uploaded SSH public key SHA256:" in created
    assert "(at home)" in created


def test_a_failed_job_is_looked_into(hut: Hut, failed: int, ssh_set_up):
    session = hut.on_terminal("builds", "ssh", failed, input="tty; cat left; id -un; exit\n")
    assert re.search(r"\n/dev/pts/\d+\nprecious\nbuild\n", session.replace("\r", ""))


def test_keys_are_listed_and_deleted(hut: Hut, ssh_set_up):
    listed = hut("meta", "ssh-key", "list").out
    number, fingerprint, comment = re.fullmatch(r"#(\d+) (\S+)\n  (.*)\n\n", listed).groups()
    assert comment == "at home"
    public = (hut.home / ".ssh/id_ed25519.pub").read_text()
    assert hut("meta", "ssh-key", "list", "--raw").out.split()[:2] == public.split()[:2]
    assert fingerprint in hut("meta", "ssh-key", "delete", number).err
    assert hut("meta", "ssh-key", "list").out == ""
    hut("meta", "ssh-key", "create")


# --- secrets --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secret(hut: Hut, place: Place) -> str:
    """The uuid of a file of the user's."""
    create = ("secret", "create", "--user", hut.home.name, "--kind", "file", "--path", "~/netrc")
    return place.service.command(*create, "--name", "netrc", input="machine example.org\n")


def test_secrets_are_listed_and_shared(hut: Hut, place: Place, secret: str):
    listed = hut("builds", "secret", "list").out
    assert listed.startswith(f"{secret}\t")
    assert listed.endswith("\nnetrc\nFile: ~/netrc 600\n")
    place.service.command("token", "create", "--user", "ben", "--scopes", "JOBS:RO")
    shared = hut("builds", "secret", "share", "--user", "~ben", secret).err
    assert f'Shared secret "{secret}" with user "ben"' in shared
    theirs = place.service.command("secret", "list", "--user", "ben")
    assert theirs.count(secret) == 1
    place.service.command("secret", "delete", "--user", "ben", secret)


def test_a_build_has_its_secrets_unless_it_is_told_not_to(hut: Hut, secret: str):
    manifest = f"image: {IMAGE}\nsecrets: ['{secret}']\ntasks:\n- look: wc -l netrc\n"
    done = hut("builds", "submit", "--follow", "-", input=manifest)
    assert "\n1 netrc\n" in done.out
    if hut.can_update:
        follow = ("builds", "submit", "--follow", "--no-secrets", "-")
        without = hut(*follow, input=manifest, fails=True)
        assert "netrc: No such file" in without.out


# --- webhooks -------------------------------------------------------------------------------------


def test_a_webhook_is_told_of_what_is_submitted(hut: Hut, place: Place):
    query = "query { webhook { uuid event date ... on JobEvent { job { id status note } } } }"
    url = f"{place.receiver.url}/{hut.home.name}"
    create = ("builds", "user-webhook", "create", "--events", "job_created", "--url", url)
    created = hut(*create, "--stdin", input=query).err
    number = re.search(r"Created user webhook with ID (\d+)", created)[1]
    assert hut("builds", "user-webhook", "list").out == f"#{number} {url}\n"

    job_id = job_of(hut("builds", "submit", "--note", "told", "-", input=GOOD))

    def told():
        return [each for each in place.receiver.requests if each.path.endswith(hut.home.name)]

    [request] = wait_until(told)
    assert {"X-Payload-Nonce", "X-Payload-Signature"} <= set(request.headers)
    webhook = json.loads(request.body)["data"]["webhook"]
    assert (webhook["event"], webhook["job"]["id"]) == ("JOB_CREATED", job_id)
    assert webhook["job"]["note"] == "told"

    assert "Deleted " in hut("builds", "user-webhook", "delete", number).err
    assert hut("builds", "user-webhook", "list").out == ""
    finish(hut, job_id)


# --- queries of one's own, export, the account ----------------------------------------------------


def test_queries_of_ones_own_are_asked(hut: Hut, succeeded: int):
    query = "query($name: String!) { userByName(username: $name) { canonicalName } }"
    answer = hut("graphql", "builds", "--var", f"name={hut.home.name}", input=query)
    assert json.loads(answer.out) == {"userByName": {"canonicalName": f"~{hut.home.name}"}}
    hut.write("material", "a file\n")
    mutation = """mutation($file: Upload!) {
        createSecret(secret: {type: FILE, path: "~/uploaded", upload: $file}) { uuid }
    }"""
    answer = hut("graphql", "builds", "--file", "file=material", input=mutation)
    uuid = json.loads(answer.out)["createSecret"]["uuid"]
    assert f"{uuid}\t" in hut("builds", "secret", "list").out
    delete = "mutation($uuid: String!) { deleteSecret(uuid: $uuid) { uuid } }"
    hut("graphql", "builds", "--var", f"uuid={uuid}", input=delete)
    assert f"{uuid}\t" not in hut("builds", "secret", "list").out


def test_jobs_and_the_account_are_exported(hut: Hut, place: Place, succeeded: int, failed: int):
    services = [each.removeprefix("http://") for each in (place.origin, place.other_origin)]
    assert "Failed" not in hut("export", "out", *services).err
    jobs = hut.home / "out/builds.sr.ht"
    assert "+ grep precious made.txt\n" in (jobs / f"{succeeded}/test.log").read_text()
    assert "+ exit 7\n" in (jobs / f"{failed}/build.log").read_text()
    assert (jobs / f"{succeeded}/_build.log").stat().st_size > 0
    about = json.loads((jobs / f"{succeeded}/info.json").read_text())
    assert (about["note"], about["tags"]) == ("*why*", ["project", "main"])
    profile = json.loads((hut.home / "out/meta.sr.ht/profile.json").read_text())
    assert profile["canonicalName"] == f"~{hut.home.name}"


def test_the_account_and_its_tokens_are_shown(hut: Hut):
    assert hut("meta", "show").out == f"~{hut.home.name} <>\n"
    [_, token] = hut("meta", "oauth", "tokens").out.splitlines()
    assert token.endswith(" ".join(sorted(GRANTS)))


# --- in a build -----------------------------------------------------------------------------------


def test_a_build_asks_about_itself_with_the_hut_of_its_own_release(hut: Hut):
    manifest = f"""\
image: {IMAGE}
packages: [hut]
oauth: builds.sr.ht/JOBS:RO builds.sr.ht/LOGS:RO builds.sr.ht/PROFILE:RO
tasks:
- look: hut builds show "$JOB_ID" | cat
"""
    done = hut("builds", "submit", "--follow", "-", input=manifest)
    job_id = job_in(done.out.splitlines()[0])
    assert f"\n#{job_id}: ● RUNNING\n● look  \n" in done.out.replace("\r", "")
