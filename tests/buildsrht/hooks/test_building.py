"""From what a forge reported to jobs, with a real git server in between."""

import base64
import errno
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import String as Text
from sqlalchemy import cast, func, select, update

from buildsrht import manifest as manifests
from buildsrht import processes
from buildsrht.hooks import building, fetching
from buildsrht.hooks.building import perform
from buildsrht.hooks.event import Event, Update
from buildsrht.models import Base, Job, JobStatus, Push, PushStatus, Visibility
from tests.buildsrht.hooks.forge import git

MANIFEST = "image: debian\ntasks:\n- build: make\n"
CREDENTIAL = "ada:t0p-s3cret-t0ken"


def pushed(commit, ref="refs/heads/main"):
    return Event((Update(ref, commit),))


@pytest.fixture
def build(reaching, report, fetch_push):
    """Report an event, have it built, and return the push and its jobs."""

    def run(hook, event):
        push = report(hook, event)
        perform(reaching, push.id)
        return fetch_push(push.id), jobs_of(reaching)

    return run


def jobs_of(backend):
    with backend.transaction() as session:
        return session.scalars(select(Job).order_by(Job.id)).all()


def parsed(job):
    return manifests.parse(job.manifest)


# --- what a job is ----------------------------------------------------------------------------


def test_a_push_becomes_a_job_of_the_hooks_owner(forge, make_hook, build, reaching, owner):
    commit = forge.push({".build.yml": MANIFEST})

    push, [job] = build(make_hook(), pushed(commit))

    assert (push.status, push.reason, push.job_ids) == (PushStatus.BUILT, None, [job.id])
    assert (job.owner_id, job.status, job.visibility) == (owner.id, "queued", "unlisted")
    assert job.tags == ["hello", "commits", "main", ".build.yml"]
    page = f"{forge.url.removesuffix('.git')}/commit/{commit}"
    assert job.note == rf"[{commit[:12]}]({page}) Say hello, by Ada \*L\*"
    assert job.secrets is True
    assert reaching.queue.enqueued_ids() == {job.id}


def test_the_job_builds_that_very_commit(forge, make_hook, build):
    commit = forge.push({".build.yml": f"sources: [{forge.url}]\n{MANIFEST}"})
    forge.push({".build.yml": "later"})

    _, [job] = build(make_hook(), pushed(commit))

    [source] = parsed(job).sources
    assert (source.url, source.ref, source.directory) == (forge.url, commit, "hello")
    assert dict(parsed(job).environment) == {
        "BUILD_SUBMITTER": "github",
        "BUILD_REASON": "github-commit",
        "GIT_REF": "refs/heads/main",
    }


def test_jobs_are_as_visible_as_the_hook_says(forge, make_hook, build):
    commit = forge.push({".build.yml": MANIFEST})

    _, [job] = build(make_hook(visibility=Visibility.PRIVATE), pushed(commit))

    assert job.visibility == Visibility.PRIVATE


def test_a_tag_with_a_message_builds_the_commit_that_it_tags(forge, make_hook, build):
    commit = forge.push({".build.yml": MANIFEST})
    git(forge.repository, "tag", "-a", "-m", "first", "v1", commit)
    tag = git(forge.repository, "rev-parse", "v1")

    _, [job] = build(make_hook(), pushed(tag, "refs/tags/v1"))

    assert parsed(job).sources[0].ref == commit


def test_a_shell_is_taken_out_and_the_note_says_so(forge, make_hook, build):
    commit = forge.push({".build.yml": f"shell: true\n{MANIFEST}"})

    _, [job] = build(make_hook(), pushed(commit))

    assert not parsed(job).shell
    assert "`shell: true` was removed" in job.note


# --- which manifests --------------------------------------------------------------------------


def test_at_most_four_manifests_are_built_the_first_by_name(forge, make_hook, build):
    commit = forge.push({f".builds/{name}.yml": MANIFEST for name in "fcbade"})

    push, jobs = build(make_hook(), pushed(commit))

    assert [job.tags[3] for job in jobs] == ["a.yml", "b.yml", "c.yml", "d.yml"]
    assert push.status == PushStatus.BUILT
    assert push.reason == (
        "refs/heads/main: '.builds/e.yml' left out, after 4 others; "
        "refs/heads/main: '.builds/f.yml' left out, after 4 others"
    )


def test_one_that_does_not_want_to_be_built_leaves_its_place_to_others(forge, make_hook, build):
    unwilling = f"submitter: {{github: {{allow-refs: [refs/heads/other]}}}}\n{MANIFEST}"
    files = {f".builds/{name}.yml": MANIFEST for name in "bcde"}
    commit = forge.push({".builds/a.yml": unwilling, **files})

    push, jobs = build(make_hook(), pushed(commit))

    assert [job.tags[3] for job in jobs] == ["b.yml", "c.yml", "d.yml", "e.yml"]
    assert push.reason == "refs/heads/main: '.builds/a.yml' does not want it"


def test_four_are_the_limit_for_all_refs_of_a_push_together(forge, make_hook, build):
    files = {f".builds/{name}.yml": MANIFEST for name in "abc"}
    updates = [
        Update(ref, forge.push(files, ref, message=ref))
        for ref in ("refs/heads/one", "refs/heads/two")
    ]

    _, jobs = build(make_hook("sourcehut"), Event(tuple(updates)))

    assert [tuple(job.tags[2:]) for job in jobs] == [
        *(("one", "a.yml"), ("one", "b.yml"), ("one", "c.yml"), ("two", "a.yml"))
    ]


@pytest.mark.parametrize(
    ("files", "message", "reason"),
    [
        ({}, "Fix", "no manifest in"),
        ({"x/.build.yml": MANIFEST}, "Fix", "no manifest in"),
        ({".build.yml": MANIFEST}, "Fix\n\n[skip ci]", "its message asks not to be built"),
        ({".build.yml": f"submitter: {{github: {{enabled: false}}}}\n{MANIFEST}"}, "x", "not want"),
    ],
)
def test_a_push_with_nothing_to_build_is_ignored(forge, make_hook, build, files, message, reason):
    push, jobs = build(make_hook(), pushed(forge.push(files, message=message)))

    assert (push.status, push.job_ids, jobs) == (PushStatus.IGNORED, [], [])
    assert reason in push.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image: [", "not valid YAML"),
        ("image: debian/potato\nshell: true\n", "'debian/potato' is none of"),
        ("image: debian\nshell: true\n", "tasks: needed unless shell is true"),
        (MANIFEST + "#" * 20_000, "must be under 16,384 characters"),
        (b"\xff", "not UTF-8"),
        (b"#" * 70_000, "has more than 65,532 bytes"),
    ],
)
def test_a_bad_manifest_is_told_and_the_others_are_built(forge, make_hook, build, text, reason):
    commit = forge.push({".builds/bad.yml": text, ".builds/good.yml": MANIFEST})

    push, [job] = build(make_hook(), pushed(commit))

    assert (push.status, push.job_ids) == (PushStatus.FAILED, [job.id])
    assert push.reason.startswith("refs/heads/main: '.builds/bad.yml': ")
    assert reason in push.reason


# --- strangers --------------------------------------------------------------------------------


@pytest.fixture
def request_of(forge):
    """A pull request from a fork, as the forge keeps it; returns its event."""

    def make(forge_name="github", fork=True):
        ref = "refs/merge-requests/12/head" if forge_name == "gitlab" else "refs/pull/12/head"
        manifest = f"secrets: [deploy-key]\noauth: builds.sr.ht/JOBS:RO\n{MANIFEST}"
        commit = forge.push({".build.yml": manifest}, ref)
        head = forge.url.replace("/ada/", "/eve/") if fork else None
        return Event((Update(ref, commit),), request=12, head=head)

    return make


@pytest.mark.parametrize("name", ["github", "gitlab", "gitea"])
@pytest.mark.parametrize("fork", [True, False])
def test_a_pull_request_is_built_without_secrets_whoever_made_it(
    forge, make_hook, build, request_of, name, fork
):
    event = request_of(name, fork)

    push, jobs = build(make_hook(name, pull_requests=True), event)

    assert push.reason is None
    [job] = jobs
    assert job.secrets is False
    assert job.tags == ["hello", "pulls", "12", ".build.yml"]
    [source] = parsed(job).sources
    assert source.url == (event.head or forge.url)
    assert (source.ref, source.directory) == (event.updates[0].object, "hello")
    assert parsed(job).environment["PULL_REQUEST_ID"] == "12"


def test_a_pull_request_has_nobody_told(forge, make_hook, build):
    trigger = "triggers: [{action: email, condition: always, to: victim@example.org}]\n"
    files = {".build.yml": trigger + MANIFEST}
    request = forge.push(files, "refs/pull/12/head")
    commit = forge.push(files)
    hook = make_hook(pull_requests=True)

    build(hook, Event((Update("refs/pull/12/head", request),), request=12))
    _, [of_request, of_push] = build(hook, pushed(commit))

    assert (of_request.triggers, parsed(of_request).triggers) == ([], ())
    assert "`triggers` were removed" in of_request.note
    assert [each["to"] for each in of_push.triggers] == ["victim@example.org"]


def test_a_manifest_cannot_say_that_it_is_a_trusted_push(forge, make_hook, build):
    lies = "environment: {BUILD_REASON: github-commit, GIT_REF: refs/heads/main}\n"
    commit = forge.push({".build.yml": lies + MANIFEST}, "refs/pull/12/head")
    event = Event((Update("refs/pull/12/head", commit),), request=12)

    _, [job] = build(make_hook(pull_requests=True), event)

    assert parsed(job).environment["BUILD_REASON"] == "github-pr"
    assert parsed(job).environment["GIT_REF"] == "refs/pull/12/head"


def test_sourcehut_reports_build_only_what_the_ref_points_to(
    forge, make_hook, build, report, reaching, fetch_push
):
    old = forge.push({".build.yml": MANIFEST})
    forge.push({".build.yml": MANIFEST}, message="newer")

    push, jobs = build(make_hook("sourcehut"), pushed(old))

    assert (push.status, jobs) == (PushStatus.WAITING, [])
    for _ in range(building.MOVED_ATTEMPTS - 1):
        make_due(reaching, push.id)
        perform(reaching, push.id)
    push = fetch_push(push.id)
    assert (push.status, jobs_of(reaching)) == (PushStatus.IGNORED, [])
    assert push.reason.startswith("refs/heads/main is at ")


def test_a_ref_that_has_moved_on_does_not_keep_others_from_being_built(
    forge, make_hook, report, reaching, fetch_push
):
    old = forge.push({".build.yml": MANIFEST}, "refs/heads/two")
    refs = ("refs/heads/one", "refs/heads/two", "refs/heads/three")
    now = {ref: forge.push({".build.yml": MANIFEST}, ref, message=ref) for ref in refs}
    now["refs/heads/two"] = old
    push = report(make_hook("sourcehut"), Event(tuple(Update(*pair) for pair in now.items())))

    for _ in range(building.MOVED_ATTEMPTS):
        perform(reaching, push.id)
        make_due(reaching, push.id)

    push = fetch_push(push.id)
    assert (push.status, len(push.job_ids)) == (PushStatus.BUILT, 2)
    assert [job.tags[2] for job in jobs_of(reaching)] == ["one", "three"]
    assert "refs/heads/two is at " in push.reason


def test_a_ref_that_is_gone_by_now_is_not_waited_for_all_day(
    forge, make_hook, report, reaching, fetch_push
):
    forge.push({".build.yml": MANIFEST})
    push = report(make_hook("sourcehut"), pushed("1" * 40, "refs/heads/gone"))

    for _ in range(building.MOVED_ATTEMPTS):
        perform(reaching, push.id)
        make_due(reaching, push.id)

    push = fetch_push(push.id)
    assert (push.status, push.reason) == (PushStatus.IGNORED, "refs/heads/gone is not there")


# --- private repositories ---------------------------------------------------------------------


def test_a_private_repository_is_read_with_its_credential_and_cloned_by_ssh(
    forge, make_hook, build
):
    commit = forge.push({".build.yml": f"secrets: [deploy-key]\n{MANIFEST}"})
    forge.password = CREDENTIAL

    push, [job] = build(make_hook(credential=CREDENTIAL), pushed(commit))

    assert push.status == PushStatus.BUILT
    [source] = parsed(job).sources
    assert (source.url, source.ref) == ("ssh://git@127.0.0.1/ada/hello.git", commit)


@pytest.mark.parametrize("password", [CREDENTIAL, "ada:another"])
def test_a_credential_is_nowhere_afterwards(
    forge, make_hook, build, reaching, caplog, tmp_path, password
):
    commit = forge.push({".build.yml": MANIFEST})
    forge.password = password

    build(make_hook(credential=CREDENTIAL), pushed(commit))

    with reaching.transaction() as session:
        rows = [
            session.execute(select(cast(func.row(*table.columns), Text))).scalars().all()
            for table in Base.metadata.sorted_tables
        ]
    files = [path.read_bytes() for path in (tmp_path / "var").rglob("*") if path.is_file()]
    redis = [reaching.redis.dump(key) for key in reaching.redis.scan_iter()]
    found = "".join(map(str, [rows, files, redis, caplog.text]))
    encoded = base64.b64encode(CREDENTIAL.encode()).decode()
    for secret in ("t0p-s3cret-t0ken", encoded, CREDENTIAL.encode().hex()):
        assert secret not in found


def test_a_credential_that_is_refused_is_told_and_not_tried_again(forge, make_hook, build):
    commit = forge.push({".build.yml": MANIFEST})
    forge.password = "ada:another"

    push, jobs = build(make_hook(credential=CREDENTIAL), pushed(commit))

    assert (push.status, jobs) == (PushStatus.FAILED, [])
    assert push.reason.startswith("the forge lets nobody in without a credential")


# --- where a hook may point -------------------------------------------------------------------


def test_an_address_of_our_own_network_is_refused(forge, make_hook, report, reaching, fetch_push):
    commit = forge.push({".build.yml": MANIFEST})
    push = report(make_hook(), pushed(commit))
    courier = replace(reaching.config.courier, allow=())

    perform(replace(reaching, config=replace(reaching.config, courier=courier)), push.id)

    push = fetch_push(push.id)
    assert (push.status, forge.requests) == (PushStatus.FAILED, [])
    assert "127.0.0.1" in push.reason


def test_a_repository_that_has_moved_is_told(forge, make_hook, build):
    commit = forge.push({".build.yml": MANIFEST})
    forge.redirect = "http://169.254.169.254"

    push, _ = build(make_hook(), pushed(commit))

    assert push.status == PushStatus.FAILED
    assert "returned error: 302" in push.reason


# --- once, and in the end ---------------------------------------------------------------------


def make_due(backend, push_id, **values):
    with backend.transaction() as session:
        due = func.now() - timedelta(minutes=1)
        session.execute(update(Push).where(Push.id == push_id).values(due=due, **values))


def test_a_forge_that_is_away_is_tried_again_later(
    forge, make_hook, build, reaching, fetch_push, monkeypatch
):
    commit = forge.push({".build.yml": MANIFEST})
    forge.talks.clear()
    monkeypatch.setattr(fetching, "COMMAND_SECONDS", 0.5)

    push, jobs = build(make_hook(), pushed(commit))

    assert (push.status, push.attempts, jobs) == (PushStatus.WAITING, 1, [])
    assert push.reason == "git fetch took longer than 0.5 s"
    assert timedelta(seconds=20) < push.due - push.updated < timedelta(seconds=40)

    perform(reaching, push.id)
    assert fetch_push(push.id).attempts == 1  # it is not due

    forge.talks.set()
    monkeypatch.undo()
    make_due(reaching, push.id)
    perform(reaching, push.id)
    push = fetch_push(push.id)
    assert (push.status, push.reason, len(push.job_ids)) == (PushStatus.BUILT, None, 1)


def test_a_push_fails_when_its_time_is_over(
    forge, make_hook, report, reaching, fetch_push, monkeypatch
):
    forge.talks.clear()
    monkeypatch.setattr(fetching, "COMMAND_SECONDS", 0.5)
    push = report(make_hook(), pushed("1" * 40))
    make_due(reaching, push.id, expires=func.now() + timedelta(seconds=20))

    perform(reaching, push.id)

    push = fetch_push(push.id)
    assert push.status == PushStatus.FAILED
    assert push.reason == "git fetch took longer than 0.5 s"


def test_a_disk_that_is_full_is_told_and_tried_again(forge, make_hook, build, monkeypatch):
    commit = forge.push({".build.yml": MANIFEST})

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    push, jobs = build(make_hook(), pushed(commit))

    assert (push.status, push.attempts, jobs) == (PushStatus.WAITING, 1, [])
    assert push.reason == "this host: No space left on device"


# A courier that is killed when it has submitted two jobs.
KILLED = """
import os, signal
from buildsrht import config
from buildsrht.backend import open_backend
from buildsrht.hooks import building

submitted = []
submit = building.job_service.submit

def submit_two(*arguments):
    if len(submitted) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    submitted.append(submit(*arguments))

building.job_service.submit = submit_two
building.perform(open_backend(config.load()), {push_id})
"""


def test_a_courier_that_was_killed_half_way_builds_nothing_twice(
    forge, make_hook, report, reaching, fetch_push, elsewhere
):
    commit = forge.push({f".builds/{name}.yml": MANIFEST for name in "abc"})
    push = report(make_hook(), pushed(commit))

    killed = [sys.executable, "-c", KILLED.format(push_id=push.id)]
    assert subprocess.run(killed, env=elsewhere, timeout=60).returncode == -signal.SIGKILL
    assert len(jobs_of(reaching)) == 2
    assert (reaching.config.var / "pushes" / str(push.id)).exists()

    perform(reaching, push.id)
    assert fetch_push(push.id).status == PushStatus.WAITING  # the dead one's claim still holds
    make_due(reaching, push.id)
    perform(reaching, push.id)

    push = fetch_push(push.id)
    assert (push.status, push.attempts) == (PushStatus.BUILT, 2)
    assert push.job_ids == [job.id for job in jobs_of(reaching)]
    assert len(push.job_ids) == 3
    assert list((reaching.config.var / "pushes").iterdir()) == []


# A courier that waits for a forge.
WAITING = """
from buildsrht import config
from buildsrht.backend import open_backend
from buildsrht.hooks import building, fetching

fetching.COMMAND_SECONDS = 3
building.perform(open_backend(config.load()), {push_id})
"""


def test_git_does_not_go_on_for_long_after_its_courier_was_killed(
    forge, make_hook, report, reaching, elsewhere
):
    push = report(make_hook(), pushed("1" * 40))
    forge.talks.clear()

    command = [sys.executable, "-c", WAITING.format(push_id=push.id)]
    with subprocess.Popen(command, env=elsewhere) as courier:
        assert forge.is_asked.wait(60)
        children = pids_naming(forge.url)
        courier.kill()

    assert children
    assert all(processes.has_ended(pid, 10) for pid in children)


def pids_naming(text):
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text.encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def test_of_many_couriers_one_builds(forge, make_hook, report, reaching, fetch_push):
    push = report(make_hook(), pushed(forge.push({".build.yml": MANIFEST})))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: perform(reaching, push.id), range(4)))

    assert fetch_push(push.id).attempts == 1
    assert len(jobs_of(reaching)) == 1


def test_what_pushes_that_are_gone_left_behind_is_removed(forge, make_hook, build, reaching):
    left = reaching.config.var / "pushes" / "999"
    left.mkdir(parents=True)

    build(make_hook(), pushed(forge.push({})))

    assert not left.exists()


def test_a_push_that_does_not_exist_is_nobodys(reaching):
    perform(reaching, 5)

    assert jobs_of(reaching) == []


def test_a_job_goes_through_the_same_gate_as_any_other(forge, make_hook, build):
    push, [job] = build(make_hook(), pushed(forge.push({".build.yml": MANIFEST})))

    assert job.status == JobStatus.QUEUED
    assert (job.image, job.arch) == ("debian/trixie", "amd64")
    assert job.idempotency_key.startswith(f"push-{push.id}-")


def test_what_was_edited_is_really_cloned_at_that_commit(forge, make_hook, build, tmp_path):
    commit = forge.push({".build.yml": MANIFEST, "hello.txt": "hi"})
    forge.push({"hello.txt": "changed"})

    _, [job] = build(make_hook(), pushed(commit))

    [source] = parsed(job).sources
    clone = ["git", "clone", "-q", source.url, str(tmp_path / source.directory)]
    subprocess.run(clone, check=True, timeout=60)
    git(tmp_path / "hello", "checkout", "-q", source.ref)
    assert Path(tmp_path / "hello" / "hello.txt").read_text() == "hi"
