"""Jobs: submitted, looked at; their logs and artifacts."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from buildsrht.graphql.jobs import LOG_TAIL
from buildsrht.models import Artifact

SUBMIT = """
mutation (
  $manifest: String!, $tags: [String!], $note: String,
  $secrets: Boolean, $execute: Boolean, $visibility: Visibility
) {
  submit(
    manifest: $manifest, tags: $tags, note: $note,
    secrets: $secrets, execute: $execute, visibility: $visibility
  ) { id status tags note visibility manifest image arch runner group { id } }
}
"""
EVERYTHING = ["JOBS:RW", "LOGS:RO", "PROFILE:RO", "SECRETS:RO"]
WITHOUT_SECRETS = ["JOBS:RW", "LOGS:RO", "PROFILE:RO"]


# --- submit -----------------------------------------------------------------------------------


def test_a_job_is_queued_and_unlisted_unless_something_else_is_said(find, manifest):
    assert find(SUBMIT, manifest=manifest)["submit"] == {
        "id": 1,
        "status": "QUEUED",
        "tags": [],
        "note": None,
        "visibility": "UNLISTED",
        "manifest": manifest,
        "image": "debian/trixie",
        "arch": "amd64",
        "runner": None,
        "group": None,
    }


def test_everything_can_be_said(find, manifest):
    job = find(
        SUBMIT,
        manifest=manifest,
        tags=["Alpine", "edge"],
        note="*new*",
        execute=False,
        visibility="PRIVATE",
    )["submit"]

    assert job["status"] == "PENDING"
    assert job["tags"] == ["Alpine", "edge"]
    assert job["note"] == "*new*"
    assert job["visibility"] == "PRIVATE"


def test_what_clients_send_for_nothing_is_nothing(find, manifest):
    job = find(SUBMIT, manifest=manifest, tags=["", "a", ""], note="")["submit"]
    assert (job["tags"], job["note"]) == (["a"], None)


def test_null_is_as_good_as_nothing(find, manifest):
    nothing = dict.fromkeys(("tags", "note", "secrets", "execute", "visibility"))
    job = find(SUBMIT, manifest=manifest, **nothing)["submit"]
    assert (job["status"], job["visibility"]) == ("QUEUED", "UNLISTED")


@pytest.mark.parametrize(
    ("asks_for", "grants", "secrets", "has_them"),
    [
        ("", EVERYTHING, None, False),
        ("", EVERYTHING, True, True),
        ("secrets: [deploy]\n", EVERYTHING, None, True),
        ("secrets: [deploy]\n", EVERYTHING, False, False),
        ("secrets: [deploy]\n", WITHOUT_SECRETS, None, False),
        ("secrets: [deploy]\n", WITHOUT_SECRETS, False, False),
        ("oauth: builds.sr.ht/JOBS:RO\n", EVERYTHING, None, True),
        ("oauth: builds.sr.ht/JOBS:RO\n", WITHOUT_SECRETS, None, False),
        # Before there were grants, who might submit might do so with secrets.
        ("secrets: [deploy]\n", ["jobs:write"], None, True),
        ("", ["jobs:write"], True, True),
    ],
)
def test_secrets_are_for_jobs_that_name_some_and_tokens_that_may(
    find, fetch, manifest, asks_for, grants, secrets, has_them
):
    find(SUBMIT, manifest=manifest + asks_for, secrets=secrets, grants=grants)
    assert fetch(1).secrets is has_them


def test_secrets_that_a_token_may_not_give_are_refused_by_name(fail, row_counts, manifest):
    before = row_counts()
    error = fail(SUBMIT, manifest=manifest, secrets=True, grants=WITHOUT_SECRETS)

    assert error["extensions"] == {
        "code": "FORBIDDEN",
        "field": "secrets",
        "grant": "SECRETS:RO",
    }
    assert row_counts() == before


def test_a_job_cannot_be_given_more_than_the_token_has(fail, row_counts, manifest):
    before = row_counts()
    wanted = f"{manifest}oauth: builds.sr.ht/PROFILE:RW\n"
    error = fail(SUBMIT, manifest=wanted, grants=EVERYTHING)

    assert error["extensions"]["code"] == "FORBIDDEN"
    assert "PROFILE:RW" in error["message"]
    assert row_counts() == before


# --- a job ------------------------------------------------------------------------------------


def test_a_job_says_where_it_is(find, make_job):
    make_job("running")
    found = find("{ job(id: 1) { status runner url created updated tasks { created updated } } }")

    job = found["job"]
    assert (job["status"], job["runner"]) == ("RUNNING", "host-1")
    assert job["url"] == "http://127.0.0.1:5002/~owner/job/1"
    for moment in (job["created"], job["updated"], job["tasks"][0]["created"]):
        assert moment.endswith("+00:00")
        assert datetime.fromisoformat(moment) > datetime.now(UTC) - timedelta(minutes=1)


def test_tasks_are_in_the_order_of_the_manifest(find, make_job):
    make_job()
    tasks = find("{ job(id: 1) { tasks { id name status job { id } } } }")["job"]["tasks"]

    assert [task["name"] for task in tasks] == ["build", "test"]
    assert {task["status"] for task in tasks} == {"PENDING"}
    assert {task["job"]["id"] for task in tasks} == {1}


# --- logs -------------------------------------------------------------------------------------

LOGS = "{ job(id: 1) { log { fullURL last128KiB } tasks { log { fullURL last128KiB } } } }"


def test_logs_are_where_the_url_says(find, client_of, make_job, write_log):
    job = make_job("running")
    write_log(job, None, b"setting up\n")
    write_log(job, "build", b"building\n", seal=True)

    found = find(LOGS)["job"]

    logs = [found["log"], *(task["log"] for task in found["tasks"])]
    assert [log["last128KiB"] for log in logs] == ["setting up\n", "building\n", ""]
    for log in logs:
        path = log["fullURL"].removeprefix("http://127.0.0.1:5002")
        assert client_of(None).get(path).text == log["last128KiB"]


@pytest.mark.parametrize("seal", [True, False])
def test_of_a_long_log_the_end_is_there(find, make_job, write_log, seal):
    write_log(make_job("running"), None, b"begin" + b"x" * LOG_TAIL + b"end", seal=seal)
    tail = find(LOGS)["job"]["log"]["last128KiB"]

    assert len(tail) == 128 * 1024
    assert tail.endswith("xend")


def test_what_is_no_text_in_a_log_is_replaced(find, make_job, write_log):
    write_log(make_job("running"), None, b"a\xff\x00\xed\xa0\x80b")
    assert find(LOGS)["job"]["log"]["last128KiB"] == "a\ufffd\0\ufffd\ufffd\ufffdb"


# --- artifacts --------------------------------------------------------------------------------

ARTIFACTS = "{ job(id: 1) { artifacts { id path size url sha256 created } } }"


def test_an_artifact_can_be_had_where_its_url_says(find, client_of, make_job, keep_artifact):
    keep_artifact(make_job("success"), "/home/build/out file.txt", b"made")
    [artifact] = find(ARTIFACTS)["job"]["artifacts"]

    assert (artifact["path"], artifact["size"]) == ("/home/build/out file.txt", 4)
    assert len(artifact["sha256"]) == 64
    path = artifact["url"].removeprefix("http://127.0.0.1:5002")
    assert client_of(None).get(path).data == b"made"


@pytest.mark.parametrize(
    "gone", [{"deleted": datetime.now(UTC)}, {"expires": datetime.now(UTC) - timedelta(days=1)}]
)
def test_an_artifact_that_is_gone_has_no_url(backend, find, make_job, keep_artifact, gone):
    keep_artifact(make_job("success"))
    with backend.transaction() as session:
        session.execute(update(Artifact).values(**gone))
    [artifact] = find(ARTIFACTS)["job"]["artifacts"]

    assert artifact["url"] is None
    assert artifact["size"] == 4


def test_a_size_beyond_32_bits_is_the_largest_that_there_is(backend, find, make_job, keep_artifact):
    keep_artifact(make_job("success"))
    with backend.transaction() as session:
        session.execute(update(Artifact).values(size=2**40))

    assert find(ARTIFACTS)["job"]["artifacts"][0]["size"] == 2**31 - 1
