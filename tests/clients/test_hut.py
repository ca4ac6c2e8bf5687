"""What `hut` has for builds and for one's account, against a server without machines.

tests/clients/test_hut_whole.py walks through the same with a whole service and real ones. Both
releases of Debian that have `hut` are asked; what only the newer can do is skipped for the other.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from buildsrht.models import Artifact, Job, JobStatus, SecretKind, Visibility
from buildsrht.services import groups
from buildsrht.services.secrets import NewSecret, create_secret
from tests.clients.conftest import RUNNER
from tests.clients.hut import GRANTS, Hut, by_another_name, job_in, job_of, wait_until
from tests.test_docs import ROOT, blocks
from tests.worker.fakes import fake_boot, perform

PAGE = ROOT / "docs/hut.md"
GOOD = "image: debian/trixie\ntasks:\n- build: echo made\n- test: echo tested\n"
BAD = "image: debian/trixie\ntasks:\n- build: echo made; exit 3\n- test: echo tested\n"


@pytest.fixture
def newer(hut: Hut) -> Hut:
    """A hut that has what came with 0.8."""
    if not hut.can_update:
        pytest.skip(f"hut {hut.version} has no such command")
    return hut


@pytest.fixture
def run(live) -> Callable[[int], None]:
    """Run a job to its end, on a machine that costs nothing."""
    return lambda job_id: perform(live, job_id, fake_boot)


@pytest.fixture
def build_host(live) -> Iterator[Callable[[int], None]]:
    """Run a job as soon as it has been submitted, beside the test."""
    threads: list[Thread] = []

    def work(job_id: int) -> None:
        wait_until(lambda: _is_there(live, job_id), seconds=30)
        perform(live, job_id, fake_boot)

    def start(job_id: int) -> None:
        threads.append(Thread(target=work, args=[job_id]))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()


def _is_there(live, job_id: int) -> bool:
    with live.transaction() as session:
        return session.get(Job, job_id) is not None


# --- submit ---------------------------------------------------------------------------------------


def test_the_manifest_of_the_directory_is_submitted(hut, live, fetch):
    hut.write(".build.yml", GOOD)
    done = hut("builds", "submit")
    assert done.out == f"{live.config.web.origin}/~owner/job/1\n"
    job = fetch(1)
    assert (job.manifest, job.tags, job.note) == (GOOD, [], None)
    assert (job.status, job.visibility) == (JobStatus.QUEUED, Visibility.UNLISTED)


def test_a_manifest_is_submitted_with_a_note_tags_and_a_visibility(hut, fetch):
    hut.write("ci.yml", GOOD)
    options = ("--note", "*why*", "--tags", "project/Main", "--visibility", "private")
    job = fetch(job_of(hut("builds", "submit", "ci.yml", *options)))
    assert (job.note, job.tags) == ("*why*", ["project", "Main"])
    assert job.visibility == Visibility.PRIVATE


def test_a_manifest_is_read_from_standard_input(hut, fetch):
    assert fetch(job_of(hut("builds", "submit", "-", input=GOOD))).manifest == GOOD


def test_several_manifests_become_several_jobs(hut, fetch):
    hut.write(".builds/a.yml", GOOD)
    hut.write(".builds/b.yml", BAD)
    done = hut("builds", "submit")
    ids = [job_in(address) for address in done.out.split()]
    assert [fetch(job_id).manifest for job_id in ids] == [GOOD, BAD]


def test_a_manifest_that_is_no_good_is_explained_and_not_stored(hut, row_counts):
    before = row_counts()
    done = hut("builds", "submit", "-", input="image: debian/trixie\n", fails=True)
    assert "tasks" in done.err
    after = row_counts()
    assert after["job"] == before["job"]


def test_tags_that_are_no_good_are_explained(hut):
    hut.write(".build.yml", GOOD)
    assert "tags" in hut("builds", "submit", "--tags", "what is this", fails=True).err


def test_a_manifest_is_edited_before_it_is_submitted(hut, fetch):
    hut.environment["EDITOR"] = "sed -i s/made/edited/"
    hut.write(".build.yml", GOOD)
    job_id = job_of(hut("builds", "submit", "--edit"))
    assert fetch(job_id).manifest == GOOD.replace("made", "edited")
    hut.environment["EDITOR"] = "sed -i s/edited/again/"
    again = fetch(job_of(hut("builds", "resubmit", "--edit", job_id)))
    assert again.manifest == GOOD.replace("made", "again")
    assert again.note.endswith(" (edited)")


def test_a_job_gets_its_secrets_unless_it_is_told_not_to(hut, live, fetch, owner):
    row = create_secret(live, owner.name, NewSecret(SecretKind.FILE, b"x", path="~/x"))
    manifest = f"{GOOD}secrets: ['{row.uuid}']\n"
    assert fetch(job_of(hut("builds", "submit", "-", input=manifest))).secrets
    if hut.can_update:
        without = hut("builds", "submit", "--no-secrets", "-", input=manifest)
        assert not fetch(job_of(without)).secrets


def test_a_job_is_followed_to_its_success(hut, build_host):
    build_host(1)
    done = hut("builds", "submit", "--follow", "-", input=GOOD)
    assert done.out.startswith("http://127.0.0.1:")
    lines = done.out.splitlines()
    assert [line for line in lines if line in ("made", "tested")] == ["made", "tested"]
    assert lines[-1] == "✔ SUCCESS"


def test_a_job_is_followed_to_its_failure(hut, build_host):
    build_host(1)
    done = hut("builds", "submit", "--follow", "-", input=BAD, fails=True)
    lines = done.out.splitlines()
    assert ("made" in lines, "tested" in lines) == (True, False)
    assert lines[-1] == "✗ FAILED"


def test_a_job_that_is_cancelled_before_it_starts_is_followed_to_that(hut):
    hut.write(".build.yml", GOOD)
    with hut.started("builds", "submit", "--follow") as following:
        job_id = job_in(following.stdout.readline().strip())
        hut("builds", "cancel", job_id)
        out, err = following.communicate(timeout=60)
    assert (following.returncode, out, err) == (1, "🛑 CANCELLED\n", "")


def test_a_private_job_is_followed_by_its_owner(hut, build_host):
    build_host(1)
    done = hut("builds", "submit", "--follow", "--visibility", "private", "-", input=GOOD)
    assert "\nmade\n" in done.out


def test_on_a_terminal_whoever_followed_a_failure_is_offered_its_machine(hut, build_host):
    hut.write("ssh.args", "")
    hut.put_program("ssh", 'echo "$@" >ssh.args')
    hut.write("bad.yml", BAD)
    build_host(1)
    said = hut.on_terminal("builds", "submit", "--follow", "bad.yml", input="y\n")
    assert "Do you want to log in with SSH?" in said
    assert (hut.home / "ssh.args").read_text() == f"-t builds@{RUNNER} connect 1\n"


def test_every_line_of_a_log_that_grows_arrives_once(hut, build_host):
    script = "seq 1 2000; sleep 1.2; seq 2001 4000; sleep 1.2; seq 4001 6000"
    manifest = f"image: debian/trixie\ntasks:\n- silent: set +x\n- count: '{script}'\n"
    build_host(1)
    done = hut("builds", "submit", "--follow", "-", input=manifest)
    numbers = [line for line in done.out.splitlines() if line.isdigit()]
    assert numbers == [str(n) for n in range(1, 6001)]


# --- look -----------------------------------------------------------------------------------------


def test_a_job_is_shown(hut, run, submit):
    submit(manifest=GOOD, note="why", tags=["a", "b"])
    shown = hut("builds", "show", 1).out
    assert "#1 - a/b: ○ QUEUED\n○ build  ○ test  \n\n  why\n" in shown
    run(1)
    shown = hut("builds", "show", 1).out
    assert "#1 - a/b: ✔ SUCCESS\n✔ build  ✔ test  \n\n  why\n" in shown


def test_a_job_that_was_complete_before_its_last_task_is_shown(hut, run, submit):
    submit(manifest="image: debian/trixie\ntasks:\n- build: complete-build\n- test: 'false'\n")
    run(1)
    assert "#1: ✔ SUCCESS\n✔ build  ⏩ test  \n" in hut("builds", "show", 1).out


def test_without_a_number_the_latest_is_shown_with_what_failed_of_it(hut, run, submit):
    submit(manifest=GOOD)
    submit(manifest=BAD)
    run(2)
    shown = hut("builds", "show").out
    assert "#2: ✗ FAILED\n✗ build  ○ test  \n" in shown
    assert "\nbuild log:\n" in shown
    assert "\nmade\n" in shown


def test_a_job_that_failed_before_its_tasks_is_shown_with_its_setup_log(hut, run, submit):
    submit(manifest=f"{GOOD}sources: ['http://127.0.0.1:9/no']\n")
    run(1)
    shown = hut("builds", "show", 1).out
    assert "\nSetup log:\n" in shown
    assert "127.0.0.1:9/no" in shown


def test_a_job_is_found_by_its_address(hut, live, submit):
    submit(manifest=GOOD)
    address = f"{live.config.web.origin}/~owner/job/1"
    for name in (address, "~owner/job/1", "#1"):
        assert "#1: ○ QUEUED\n" in hut("builds", "show", name).out
    hut("builds", "cancel", address)
    assert "#1: 🛑 CANCELLED\n" in hut("builds", "show", 1).out


def test_a_job_is_watched_until_it_is_over(hut, build_host, submit):
    submit(manifest=GOOD)
    with hut.started("builds", "show", "--follow", 1) as following:
        build_host(1)
        out, _ = following.communicate(timeout=60)
    assert following.returncode == 0
    assert "#1: ✔ SUCCESS with ✔ build ✔ test " in out


def test_the_other_jobs_of_its_group_are_shown(hut, live, make_job, owner):
    ids = [make_job("pending").id for _ in range(3)]
    groups.create_group(live, owner, ids, None, [], execute=False)
    assert "Group: ○ #2  ○ #3  " in hut("builds", "show", 1).out


def test_jobs_are_listed_newest_first(hut, submit):
    submit(manifest=GOOD, note="first", tags=["a"])
    submit(manifest=GOOD)
    listed = hut("builds", "list").out
    assert [line for line in listed.splitlines() if line.startswith("#")] == [
        "#2: ○ QUEUED",
        "#1 - a: ○ QUEUED",
    ]
    assert "\n  first\n" in listed


def test_on_a_terminal_every_page_is_listed_in_colours(hut, make_job):
    for _ in range(60):
        make_job("pending")
    shown = hut.on_terminal("builds", "list")
    assert [f"\x1b[33m#{n}\x1b[0m: " in shown for n in range(1, 61)] == [True] * 60


def test_elsewhere_the_first_page_is_listed_and_more_for_who_asks(hut, make_job):
    for _ in range(60):
        make_job("pending")
    listed = re.findall(r"^#(\d+)", hut("builds", "list").out, re.MULTILINE)
    assert listed == [str(n) for n in range(60, 35, -1)]
    if hut.can_update:
        more = re.findall(r"^#(\d+)", hut("builds", "list", "--count", 40).out, re.MULTILINE)
        assert more == [str(n) for n in range(60, 20, -1)]


def test_of_another_user_only_public_jobs_are_listed(hut, make_job, stranger):
    for visibility in Visibility:
        make_job(user=stranger, visibility=visibility, tags=[visibility.value])
    listed = hut("builds", "list", "~stranger").out
    assert [line for line in listed.splitlines() if line.startswith("#")] == [
        "#1 - public: ○ QUEUED"
    ]
    assert "no such user" in hut("builds", "list", "nobody", fails=True).err


def test_a_list_is_filtered(newer, make_job):
    make_job("success", tags=["project", "main"])
    make_job("failed", tags=["project", "other"])
    make_job("failed", tags=["elsewhere"])

    def listed(*options) -> list[str]:
        out = newer("builds", "list", *options).out
        return [line.split(" ")[0].rstrip(":") for line in out.splitlines() if line[:1] == "#"]

    assert listed("--status", "failed") == ["#3", "#2"]
    assert listed("--tags", "project") == ["#2", "#1"]
    assert listed("--count", 1) == ["#3"]


def test_artifacts_are_listed_with_where_they_can_be_had(hut, run, submit, live):
    assert "No artifacts" in (submit(manifest=GOOD), hut("builds", "artifacts", 1))[1].err
    submit(manifest="image: debian/trixie\ntasks: [{a: 'seq 1 500 >list'}]\nartifacts: [list]\n")
    run(2)
    name, size, unit, address = hut("builds", "artifacts", 2).out.split()
    assert (name, size, unit) == ("list", "1.9", "kB")
    got = subprocess.run(["curl", "-fsS", address], capture_output=True, text=True, check=True)
    assert got.stdout == "".join(f"{n}\n" for n in range(1, 501))


def test_an_artifact_that_was_removed_is_listed_as_that(hut, make_job, keep_artifact, live):
    kept = keep_artifact(make_job("success"))
    with live.transaction() as session:
        session.get_one(Artifact, kept.id).expires = datetime.now(UTC)
    assert "out.txt  4 B  (pruned after" in hut("builds", "artifacts", 1).out


def test_a_job_that_is_not_there_is_said_to_be_none(hut, make_job, stranger):
    private = make_job(user=stranger, visibility=Visibility.PRIVATE)
    for job_id in (private.id, 4711):
        assert "invalid job ID" in hut("builds", "show", job_id, fails=True).err
        assert "no such job" in hut("builds", "artifacts", job_id, fails=True).err


# --- change ---------------------------------------------------------------------------------------


def test_jobs_are_cancelled(hut, make_job, fetch):
    ids = [make_job().id, make_job().id]
    assert hut("builds", "cancel", *ids).err.count("is cancelled") == 2
    assert [fetch(job_id).status for job_id in ids] == [JobStatus.CANCELLED] * 2
    assert "failed to cancel job 1" in hut("builds", "cancel", 1, fails=True).err


def test_a_job_is_submitted_once_more(hut, make_job, fetch):
    old = make_job("failed", tags=["project", "main"], visibility=Visibility.PRIVATE)
    job = fetch(job_of(hut("builds", "resubmit", old.id)))
    assert (job.manifest, job.visibility) == (old.manifest, Visibility.PRIVATE)
    assert job.note == f"Resubmission of build [#{old.id}](/~owner/job/{old.id})"
    # 0.6 forgets them.
    assert job.tags == (old.tags if hut.can_update else [])


def test_a_job_is_submitted_once_more_with_another_note(hut, make_job, fetch):
    make_job("failed")
    options = ("--note", "again", "--visibility", "public")
    job = fetch(job_of(hut("builds", "resubmit", *options, 1)))
    assert (job.note, job.visibility) == ("again", Visibility.PUBLIC)


def test_what_is_said_about_a_job_is_changed(newer, make_job, fetch):
    make_job("failed", tags=["old"], note="kept")
    newer("builds", "update", 1, "--visibility", "private", "--tags", "new/Tags")
    job = fetch(1)
    assert (job.visibility, job.tags, job.note) == (Visibility.PRIVATE, ["new", "Tags"], "kept")


def test_what_is_not_named_stays_as_it_is(newer, make_job, fetch):
    make_job("failed", tags=["old"], visibility=Visibility.PRIVATE)
    newer("builds", "update", 1, "--tags", "new")
    assert (fetch(1).visibility, fetch(1).tags) == (Visibility.PRIVATE, ["new"])
    newer("builds", "update", 1, "--visibility", "public")
    assert (fetch(1).visibility, fetch(1).tags) == (Visibility.PUBLIC, ["new"])


def test_a_strangers_job_is_neither_changed_nor_ended(hut, make_job, fetch, stranger):
    theirs = make_job(user=stranger)
    assert hut("builds", "cancel", theirs.id, fails=True).err
    if hut.can_update:
        assert hut("builds", "update", theirs.id, "--visibility", "public", fails=True).err
    job = fetch(theirs.id)
    assert (job.status, job.visibility) == (JobStatus.QUEUED, Visibility.UNLISTED)


# --- secrets --------------------------------------------------------------------------------------


def test_secrets_are_listed_and_shared(hut, hut_of, live, owner, stranger):
    kept = NewSecret(SecretKind.FILE, b"precious", name="netrc", path="~/.netrc", mode="640")
    uuid = create_secret(live, owner.name, kept).uuid
    listed = hut("builds", "secret", "list").out
    assert listed.startswith(f"{uuid}\t")
    assert listed.endswith("\nnetrc\nFile: ~/.netrc 640\n")
    assert "precious" not in listed

    shared = hut("builds", "secret", "share", "--user", "~stranger", uuid)
    assert f'Shared secret "{uuid}" with user "stranger"' in shared.err
    theirs = hut_of(stranger)("builds", "secret", "list").out
    assert theirs.startswith(f"{uuid}\t")
    assert "\nShared by ~owner\nFile: ~/.netrc 640\n" in theirs
    assert hut("builds", "secret", "share", "--user", "nobody", uuid, fails=True).err


# --- webhooks -------------------------------------------------------------------------------------


def test_user_webhooks_are_created_listed_and_deleted(hut):
    query = "query { webhook { uuid event date ... on JobEvent { job { id status } } } }"
    create = ("builds", "user-webhook", "create", "--events", "job_created", "--stdin")
    url = "https://example.org/hook"
    assert "Created user webhook with ID 1" in hut(*create, "--url", url, input=query).err
    assert hut("builds", "user-webhook", "list").out == f"#1 {url}\n"
    bad = hut(*create, "--url", url, input="query { nothing }", fails=True)
    assert "nothing" in bad.err
    assert "Deleted " in hut("builds", "user-webhook", "delete", 1).err
    assert hut("builds", "user-webhook", "list").out == ""


def test_a_webhook_is_told_of_changes_too(newer, live, fetch):
    create = ("builds", "user-webhook", "create", "--events", "job_created,job_updated")
    query = "query { webhook { uuid } }"
    newer(*create, "--url", "https://example.org/hook", "--query", query)
    asked = "{ userWebhook(id: 1) { events query } }"
    answer = json.loads(newer("graphql", "builds", input=asked).out)
    assert answer == {"userWebhook": {"events": ["JOB_CREATED", "JOB_UPDATED"], "query": query}}


# --- queries of one's own -------------------------------------------------------------------------


def test_a_query_is_asked_with_a_variable(hut, owner):
    query = "query($name: String!) { userByName(username: $name) { canonicalName } }"
    answer = hut("graphql", "builds", "--var", "name=owner", input=query)
    assert json.loads(answer.out) == {"userByName": {"canonicalName": "~owner"}}


def test_a_file_is_uploaded(hut, live):
    hut.write("netrc", "machine example.org\n")
    mutation = """mutation($file: Upload!) {
        createSecret(secret: {type: FILE, name: "netrc", path: "~/.netrc", upload: $file}) { name }
    }"""
    answer = hut("graphql", "builds", "--file", "file=netrc", input=mutation)
    assert json.loads(answer.out) == {"createSecret": {"name": "netrc"}}
    assert "\nnetrc\n" in hut("builds", "secret", "list").out


def test_what_is_wrong_with_a_query_is_said(hut):
    assert "nonsense" in hut("graphql", "builds", input="query { nonsense }", fails=True).err


# --- a shell that completes ---------------------------------------------------------------------


def test_jobs_secrets_and_keys_are_completed(hut, make_job, live, owner):
    make_job("queued", tags=["a", "b"], note="why")
    make_job("failed")
    kept = NewSecret(SecretKind.FILE, b"precious", name="netrc", path="~/.netrc")
    uuid = create_secret(live, owner.name, kept).uuid
    assert "1\ta/b - why\n" in hut("__complete", "builds", "show", "").out
    unfinished = hut("__complete", "builds", "cancel", "").out
    assert [line[:1] for line in unfinished.splitlines()][:-1] == ["1"]
    assert f"{uuid}\tnetrc\n" in hut("__complete", "builds", "secret", "share", "").out


# --- the account ----------------------------------------------------------------------------------


def test_the_account_is_shown(hut, stranger):
    assert hut("meta", "show").out.startswith("~owner <")
    assert hut("meta", "show", "~stranger").out == "~stranger <>\n"
    assert "no such user" in hut("meta", "show", "nobody", fails=True).err


@pytest.fixture
def public(tmp_path) -> Path:
    """A public key."""
    key = tmp_path / "key"
    generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "at home", "-f", str(key)]
    subprocess.run(generate, check=True)
    return key.with_suffix(".pub")


def test_ssh_keys_are_created_listed_and_deleted(hut, public):
    created = hut("meta", "ssh-key", "create", public).err
    assert "Uploaded SSH public key " in created
    assert "(at home)" in created
    listed = hut("meta", "ssh-key", "list").out
    assert listed.startswith("#1 ")
    assert listed.endswith("\n  at home\n\n")
    assert hut("meta", "ssh-key", "list", "--raw").out.split()[:2] == public.read_text().split()[:2]
    assert "Deleted SSH key" in hut("meta", "ssh-key", "delete", 1).err
    assert hut("meta", "ssh-key", "list").out == ""
    assert hut("meta", "pgp-key", "list").out == ""


def test_tokens_are_listed(hut, token, owner):
    token(owner, "JOBS:RO", comment="for a script")
    [_, *rows] = hut("meta", "oauth", "tokens").out.splitlines()
    assert len(rows) == 2
    assert any(row.startswith("for a script") and row.endswith("JOBS:RO") for row in rows)


# --- ssh ------------------------------------------------------------------------------------------


def test_ssh_is_given_the_build_host_that_has_the_job(hut, run, submit):
    hut.put_program("ssh", 'echo "$@"')
    submit(manifest=BAD)
    assert "no runner" in hut("builds", "ssh", 1, fails=True).err
    run(1)
    assert hut("builds", "ssh", 1).out == f"-t builds@{RUNNER} connect 1\n"


# --- export ---------------------------------------------------------------------------------------


def test_jobs_and_the_account_are_exported(hut, run, submit, live, tmp_path):
    submit(manifest=GOOD, note="why", tags=["a"])
    run(1)
    submit(manifest=BAD)
    run(2)
    submit(manifest=GOOD)
    builds = live.config.web.origin.removeprefix("http://")
    meta = builds.replace("127.0.0.1", "localhost")
    exported = hut("export", "out", builds, meta)
    assert "Failed" not in exported.err
    jobs = hut.home / "out/builds.sr.ht"
    assert sorted(path.name for path in jobs.iterdir()) == ["1", "2", "service.json"]
    assert (jobs / "1/build.log").read_text() == "+ echo made\nmade\n"
    assert (jobs / "1/_build.log").read_text()
    assert sorted(path.name for path in (jobs / "2").iterdir()) == [
        *("_build.log", "build.log", "info.json")
    ]
    about = json.loads((jobs / "1/info.json").read_text())
    assert (about["note"], about["tags"], about["visibility"]) == ("why", ["a"], "UNLISTED")
    profile = json.loads((hut.home / "out/meta.sr.ht/profile.json").read_text())
    assert profile["canonicalName"] == "~owner"


def test_ssh_keys_that_were_exported_are_imported(hut, hut_of, live, stranger, public):
    hut("meta", "ssh-key", "create", public)
    meta = by_another_name(live.config.web.origin).removeprefix("http://")
    hut("export", "out", meta)
    hut("meta", "ssh-key", "delete", 1)
    other = hut_of(stranger)
    assert "Error" not in other("import", hut.home / "out").err
    raw = other("meta", "ssh-key", "list", "--raw").out
    assert raw.split()[:2] == public.read_text().split()[:2]


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_without_the_grant_is_told_which(hut_of, owner, make_job):
    make_job()
    done = hut_of(owner, "JOBS:RO", "PROFILE:RO")("builds", "cancel", 1, fails=True)
    assert "JOBS:RW" in done.err


def test_a_token_that_is_none_is_refused(hut_of, stranger, live):
    hut = hut_of(stranger)
    config = hut.home / ".config/hut/config"
    config.write_text(config.read_text().replace("bsrht_", "bsrht_x"))
    assert hut("builds", "list", fails=True).err


# --- docs/hut.md ----------------------------------------------------------------------------------


def shown(language: str) -> list[str]:
    return [block.text for block in blocks(PAGE) if block.language == language]


def test_the_page_names_the_grants_that_these_tests_use():
    [scopes] = re.findall(r'token create --user ada --scopes "(.*)"', "".join(shown("sh")))
    assert scopes.split() == list(GRANTS)


def test_each_configuration_that_the_page_shows_leads_to_the_service(hut_of, owner, live, token):
    hut = hut_of(owner)
    configurations = shown("scfg")
    whole = [text for text in configurations if "origin" in text]
    assert (len(whole), len(configurations)) == (2, 3)
    for text in whole:
        text = re.sub(r"https?://(builds.example.org|127.0.0.1:5002)", live.config.web.origin, text)
        text = text.replace("http://localhost:5002", by_another_name(live.config.web.origin))
        hut.configure(text.replace("bsrht_...", token(owner, *GRANTS)))
        hut("builds", "list")
        assert hut("meta", "show").out.startswith("~owner ")


def test_the_manifest_that_the_page_shows_is_accepted(hut):
    [text] = shown("yaml")
    hut("builds", "submit", "-", input=text)


def test_without_origins_a_domain_stands_for_the_services_below_it(hut):
    [text] = [text for text in shown("scfg") if "origin" not in text]
    hut.configure(text)
    # The request goes nowhere: it is where it would have gone that counts.
    hut.environment["HTTPS_PROXY"] = "http://127.0.0.1:9"
    for service, command in {"builds": ("builds", "list"), "meta": ("meta", "show")}.items():
        error = hut(*command, fails=True).err
        assert f'Post "https://{service}.example.org/query"' in error


def test_the_page_tells_ssh_where_a_build_host_is(tmp_path):
    [text] = [text for text in shown("text") if text.startswith("Host ")]
    (tmp_path / "config").write_text(text)
    said = subprocess.run(
        ["ssh", "-G", "-F", str(tmp_path / "config"), f"builds@{RUNNER}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {"hostname builds.example.org", "port 5022", "user builds"} <= set(said)


NEEDS = {
    "JOBS:RO": ["builds list", "builds artifacts 1", "builds user-webhook list"],
    "JOBS:RW": ["builds submit m.yml", "builds resubmit 1", "builds cancel 1"],
    "LOGS:RO": ["builds show 1", "builds show --follow 1"],
    "PROFILE:RO": ["builds submit m.yml", "builds resubmit 1", "builds list ~owner", "meta show"],
    "PROFILE:RW": ["meta ssh-key create key.pub", "meta ssh-key delete 1"],
    "SECRETS:RO": ["builds secret list"],
    "SECRETS:RW": ["builds secret share --user stranger no-uuid"],
}


@pytest.mark.parametrize("grant", NEEDS)
def test_a_command_needs_the_grants_that_the_page_says(hut_of, owner, stranger, make_job, grant):
    make_job()
    area, access = grant.split(":")
    less = [f"{area}:RO"] if access == "RW" else []
    hut = hut_of(owner, *(other for other in GRANTS if not other.startswith(area)), *less)
    hut.write("m.yml", GOOD)
    hut.write("key.pub", f"ssh-ed25519 {'A' * 68} c\n")
    for command in NEEDS[grant]:
        assert grant in hut(*command.split(), fails=True).err, command


def test_08_does_not_submit_without_leave_to_use_secrets_unless_told_to(hut_of, owner):
    hut = hut_of(owner, "JOBS:RW", "LOGS:RO", "PROFILE:RO")
    hut.write("m.yml", GOOD)
    if hut.can_update:
        assert "SECRETS:RO" in hut("builds", "submit", "m.yml", fails=True).err
        hut("builds", "submit", "--no-secrets", "m.yml")
    else:
        hut("builds", "submit", "m.yml")
