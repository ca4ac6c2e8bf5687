"""What only this service tells of jobs, over GraphQL; tests of the services go deeper."""

import json

import pytest
from sqlalchemy import event

from buildsrht.models import TaskStatus, Visibility
from buildsrht.services import runs, trees
from tests.archives import archive
from tests.build_host import claim
from tests.conftest import RUNNER

WITHOUT_SECRETS = ["JOBS:RW", "JOBS:RO", "LOGS:RO", "PROFILE:RO"]


@pytest.fixture
def statements(backend):
    """How many statements the database is asked, from now on."""
    seen = []

    def note(*arguments):
        seen.append(arguments[2])

    event.listen(backend.engine, "before_cursor_execute", note)
    yield seen
    event.remove(backend.engine, "before_cursor_execute", note)


# --- events and transitions -----------------------------------------------------------------------


def test_events_of_a_job_are_told_in_their_order(find, make_job, backend):
    job = make_job("queued")
    run = claim(backend, job.id, RUNNER)
    runs.move_run_task(backend, run, run.task_ids["build"], TaskStatus.RUNNING)
    found = find(
        "{ job(id: 1) { events { kind status task { name } taskStatus attempt cause date } } }"
    )["job"]["events"]
    assert all(each.pop("date").endswith("+00:00") for each in found)
    nothing = {"task": None, "taskStatus": None, "cause": None}
    assert found == [
        {"kind": "CREATED", "status": "QUEUED", "attempt": 0, **nothing},
        {
            "kind": "STATUS",
            "status": "RUNNING",
            "attempt": 1,
            **nothing,
            "cause": f"Taken by the build host {RUNNER}.",
        },
        {
            "kind": "TASK",
            "status": "RUNNING",
            "attempt": 1,
            "cause": None,
            "task": {"name": "build"},
            "taskStatus": "RUNNING",
        },
    ]


def test_transitions_have_a_duration_but_for_the_state_that_is_now(find, make_job):
    make_job("running")
    queued, running = find("{ job(id: 1) { transitions { from to attempt cause milliseconds } } }")[
        "job"
    ]["transitions"]
    assert isinstance(queued.pop("milliseconds"), int)
    assert queued == {"from": None, "to": "QUEUED", "attempt": 0, "cause": None}
    assert running == {
        "from": "QUEUED",
        "to": "RUNNING",
        "attempt": 1,
        "milliseconds": None,
        "cause": f"Taken by the build host {RUNNER}.",
    }


def test_a_list_of_jobs_costs_as_many_statements_as_one(find, make_job, statements):
    query = """{ jobs { results {
        events { kind task { name } } transitions { to } plan { image } waitsFor { code } tags
    } } }"""
    counts = []
    for _ in range(3):
        make_job("success")
        statements.clear()
        assert find(query)["jobs"]["results"][0]["transitions"]
        counts.append(len(statements))
    assert counts[1] == counts[2]


# --- plan -----------------------------------------------------------------------------------------


def test_the_plan_of_a_job_says_what_is_known_of_it(find, make_job, backend, owner):
    tree = trees.keep_tree(backend, owner, "mine", [archive({"a": b""})])
    text = (
        "image: debian\n"
        "sources: ['https://example.org/theirs#v1']\n"
        "packages: [gcc]\n"
        "tasks: [{build: make}]\n"
    )
    make_job(manifest=text, tree_id=tree.id)
    run = claim(backend, 1, RUNNER)
    runs.record_plan(backend, run, image_version="1", layer="l", commits={"theirs": "c" * 40})
    found = find(
        """{ job(id: 1) { plan { image arch imageVersion layer
            sources { directory url ref commit } steps { name subject } } } }"""
    )
    assert found["job"]["plan"] == {
        "image": "debian/trixie",
        "arch": "amd64",
        "imageVersion": "1",
        "layer": "l",
        "sources": [
            {"directory": "mine", "url": None, "ref": None, "commit": None},
            {
                "directory": "theirs",
                "url": "https://example.org/theirs",
                "ref": "v1",
                "commit": "c" * 40,
            },
        ],
        "steps": [
            {"name": "send_files", "subject": None},
            {"name": "prepare_packages", "subject": "gcc"},
            {"name": "unpack_tree", "subject": "mine"},
            {"name": "clone_sources", "subject": "theirs"},
            {"name": "run_tasks", "subject": "build"},
        ],
    }


# --- why it waits ---------------------------------------------------------------------------------


def test_a_job_says_why_it_waits_until_it_does_not(find, make_job):
    query = "{ job(id: %d) { waitsFor { code text } } }"
    make_job("queued")
    make_job("pending")
    make_job("success")
    [reason] = find(query % 1)["job"]["waitsFor"]
    assert reason["code"] == "NO_HOST"
    assert reason["text"].startswith("No build host is there")
    assert find(query % 2)["job"]["waitsFor"][0]["code"] == "NOT_STARTED"
    assert find(query % 3)["job"]["waitsFor"] == []


# --- lint -----------------------------------------------------------------------------------------

LINT = "query($text: String!) { lint(manifest: $text) { path line column reason } }"


def test_lint_tells_all_problems_with_their_places_and_stores_nothing(find, row_counts):
    before = row_counts()
    assert find(LINT, text="image: debian\ntasks: [{build: make}]\n") == {"lint": []}
    found = find(LINT, text="image: plan9\ntasks: make\n")["lint"]
    assert [(each["path"], each["line"], each["column"]) for each in found] == [
        ("image", 1, 8),
        ("tasks", 2, 8),
    ]
    [empty] = find(LINT, text="")["lint"]
    assert empty == {"path": "", "line": None, "column": None, "reason": "is empty"}
    assert row_counts() == before


# --- update ---------------------------------------------------------------------------------------


def test_update_changes_what_is_given(find, make_job):
    make_job("success", note="old", tags=["a"])
    found = find(
        'mutation { update(jobId: 1, visibility: PRIVATE, tags: ["B"]) { visibility tags note } }'
    )
    assert found["update"] == {"visibility": "PRIVATE", "tags": ["B"], "note": "old"}
    found = find('mutation { update(jobId: 1, note: "", tags: null) { tags note } }')
    assert found["update"] == {"tags": ["B"], "note": None}


def test_update_tells_every_problem_by_its_field(ask, make_job, fetch):
    make_job()
    query = 'mutation($note: String) { update(jobId: 1, tags: ["ä"], note: $note) { id } }'
    errors = ask(query, note="x" * 5000)["errors"]
    assert [each["extensions"]["field"] for each in errors] == ["tags", "note"]
    assert fetch(1).note is None


def test_only_a_jobs_owner_may_update_it_with_a_token_that_may_write(
    fail, make_job, stranger, fetch
):
    make_job(visibility=Visibility.PUBLIC)
    query = 'mutation { update(jobId: 1, note: "mine") { id } }'
    assert fail(query, user=stranger)["extensions"]["code"] == "FORBIDDEN"
    assert "JOBS:RW" in fail(query, grants=["JOBS:RO"])["message"]
    assert fetch(1).note is None


# --- resubmit -------------------------------------------------------------------------------------


def test_resubmit_makes_another_job_of_the_same(find, make_job):
    make_job("failed", tags=["a"])
    found = find("mutation { resubmit(jobId: 1) { id status tags note } }")["resubmit"]
    assert (found["id"], found["status"], found["tags"]) == (2, "QUEUED", ["a"])
    assert "[#1](" in found["note"]
    held = 'mutation { resubmit(jobId: 1, note: "later", execute: false) { status note } }'
    assert find(held) == {"resubmit": {"status": "PENDING", "note": "later"}}


def test_resubmit_gives_a_job_no_more_than_the_token_has(fail, ask, make_job, row_counts):
    make_job(manifest="image: debian\nsecrets: [deploy]\nshell: true\n")
    before = row_counts()
    query = "mutation { resubmit(jobId: 1) { id } }"
    assert fail(query, grants=WITHOUT_SECRETS)["extensions"]["code"] == "FORBIDDEN"
    assert fail(query, grants=["JOBS:RO"])["extensions"]["code"] == "FORBIDDEN"
    assert row_counts() == before
    assert ask(query, grants=[*WITHOUT_SECRETS, "SECRETS:RO"])["data"]["resubmit"] == {"id": 2}


@pytest.mark.parametrize("verb", ["update", "resubmit"])
def test_a_job_that_one_may_not_see_is_not_there(fail, make_job, stranger, verb):
    make_job(visibility=Visibility.PRIVATE)
    query = "mutation { %s(jobId: %d) { id } }"
    hidden, absent = (fail(query % (verb, number), user=stranger) for number in (1, 2))
    assert hidden["message"] == "there is no job 1"
    assert absent["message"] == "there is no job 2"
    assert hidden["extensions"] == absent["extensions"] == {"code": "NOT_FOUND"}


def test_a_webhook_may_ask_for_all_of_it_also_before_there_is_a_job(find, make_job):
    facts = """events { kind } transitions { to } waitsFor { code }
        plan { sources { directory } steps { name } }"""
    query = f"{{ webhook {{ ... on JobEvent {{ job {{ {facts} }} }} }} }}"
    config = {"url": "https://example.org/", "events": ["JOB_CREATED"], "query": query}
    made = """mutation($config: UserWebhookInput!) {
        createUserWebhook(config: $config) { sample(event: JOB_CREATED) } }"""
    for kinds in ([], ["CREATED"]):
        sample = json.loads(find(made, config=config)["createUserWebhook"]["sample"])
        assert "errors" not in sample
        found = sample["data"]["webhook"]["job"]
        assert [each["kind"] for each in found["events"]] == kinds
        assert found["plan"]["steps"][-1]["name"] == "run_tasks"
        make_job()
