"""`/api/job-group`: several jobs as one."""

import pytest

from buildsrht.models import JobStatus, Visibility
from buildsrht.services.groups import MEMBERS, create_group

TRIGGER = {"action": "email", "condition": "always", "to": "Ann \U0001f600 <ann@example.org>"}


@pytest.fixture
def group(client_of, owner, make_job):
    """Make a group over HTTP, of jobs 1 and 2, which are pending; returns the response."""
    make_job("pending")
    make_job("pending")
    client = client_of(owner)

    def post(**fields):
        return client.post("/api/job-group", json={"jobs": [1, 2], **fields})

    return post


def statuses(group):
    return [job["status"] for job in group["jobs"]]


def test_a_group_is_answered_with_its_jobs_in_full(group, client_of, owner):
    made = group(note="hello", triggers=[TRIGGER], execute=False).json

    assert made.pop("created") == made.pop("updated")
    assert made == {
        "id": 1,
        "note": "hello",
        "owner": {"canonical_name": "~owner", "name": "owner"},
        "triggers": [TRIGGER],
        "jobs": [client_of(owner).get(f"/api/jobs/{job_id}").json for job_id in (1, 2)],
    }
    assert [job["group"] for job in made["jobs"]] == [1, 1]


def test_a_group_is_there_to_be_looked_at(group, client_of, owner):
    assert client_of(owner).get(f"/api/job-group/{group().json['id']}").json["note"] is None


def test_a_group_starts_at_once(group, backend):
    assert statuses(group().json) == ["queued", "queued"]
    assert backend.queue.enqueued_ids() == {1, 2}


def test_a_group_that_is_held_back_waits_for_its_start(group, client_of, owner, backend, fetch):
    assert statuses(group(execute=False).json) == ["pending", "pending"]
    assert backend.queue.enqueued_ids() == set()

    assert client_of(owner).post("/api/job-group/1/start").json == {}

    assert [fetch(1).status, fetch(2).status] == ["queued", "queued"]
    assert backend.queue.enqueued_ids() == {1, 2}


def test_a_group_with_nothing_left_to_start_is_refused(group, client_of, owner):
    group()

    response = client_of(owner).post("/api/job-group/1/start")

    assert response.status_code == 400
    assert response.json == {"errors": [{"reason": "job group 1 has no pending job"}]}


def test_cancel_ends_every_job_that_is_not_over(group, client_of, owner, fetch, backend):
    group()

    assert client_of(owner).post("/api/job-group/1/cancel").json == {}

    assert [fetch(1).status, fetch(2).status] == [JobStatus.CANCELLED] * 2
    assert backend.queue.enqueued_ids() == set()


def test_a_group_that_is_over_cannot_be_cancelled(group, client_of, owner):
    group()
    client = client_of(owner)
    client.post("/api/job-group/1/cancel")

    assert client.post("/api/job-group/1/cancel").status_code == 400


@pytest.mark.parametrize(
    "trigger",
    [
        TRIGGER,
        {"action": "webhook", "condition": "failure", "url": "https://example.org/hook"},
        {**TRIGGER, "cc": "bob@example.org", "in_reply_to": "<1@example.org>", "unknown": [1]},
        {**TRIGGER, "cc": None},
    ],
)
def test_triggers_are_kept_as_they_were_given(group, trigger):
    assert group(triggers=[trigger]).json["triggers"] == [trigger]


BAD_FIELDS = [
    *[("jobs", value) for value in (None, 1, "1", True, {}, [], ["1"], [1.0], [True], [None])],
    ("jobs", [1, 1]),
    ("jobs", [1, 7]),
    ("jobs", [-1]),
    ("jobs", [2**31]),
    ("jobs", [2**80]),
    ("jobs", list(range(1, MEMBERS + 2))),
    *[("note", value) for value in (5, True, [], {}, "x" * 4097, "\0", "\ud800")],
    *[("execute", value) for value in ("false", 0, 1, [], {})],
    *[("triggers", value) for value in (5, True, "always", {}, TRIGGER, [5], [[]], [None], [{}])],
    ("triggers", [{**TRIGGER, "action": "telegram"}]),
    ("triggers", [{**TRIGGER, "condition": "sometimes"}]),
    ("triggers", [{**TRIGGER, "to": 5}]),
    ("triggers", [{**TRIGGER, "to": ""}]),
    ("triggers", [{**TRIGGER, "to": "a\nBcc: b"}]),
    ("triggers", [{**TRIGGER, "to": "a\x85b"}]),
    ("triggers", [{**TRIGGER, "to": "a\u2028b"}]),
    ("triggers", [{**TRIGGER, "to": "\ud800"}]),
    ("triggers", [{**TRIGGER, "unknown": "\ud800"}]),
    ("triggers", [{**TRIGGER, "unknown": "\0"}]),
    ("triggers", [{**TRIGGER, "\0": 1}]),
    ("triggers", [{**TRIGGER, "unknown": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}]),
    ("triggers", [{"action": "email", "condition": "always"}]),
    ("triggers", [{"action": "webhook", "condition": "always", "url": "ftp://example.org"}]),
    ("triggers", [TRIGGER] * 17),
    ("triggers", [{**TRIGGER, "to": "a@example.org," * 17}]),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:40])
def test_a_bad_field_is_refused_by_name_and_nothing_is_changed(
    group, row_counts, fetch, field, value
):
    before = row_counts()

    response = group(**{field: value})

    assert response.status_code == 400
    assert {error["field"] for error in response.json["errors"]} == {field}
    assert row_counts() == before
    assert (fetch(1).status, fetch(1).group_id) == (JobStatus.PENDING, None)


def test_a_number_that_json_can_write_and_no_column_can_hold_is_refused(client_of, owner):
    body = '{"jobs": [1], "triggers": [{"action": 1e999}]}'

    response = client_of(owner).post("/api/job-group", data=body)

    assert response.status_code == 400
    assert [error["field"] for error in response.json["errors"]] == ["triggers"]


def test_nesting_without_end_is_refused(client_of, owner):
    body = '{"jobs": [1], "triggers": ' + "[" * 800 + "]" * 800 + "}"

    assert client_of(owner).post("/api/job-group", data=body).status_code == 400


def test_all_problems_are_told_at_once(group):
    response = group(
        jobs="1", note=5, execute="no", triggers=[{"action": "webhook", "condition": "x"}]
    )

    assert response.json["errors"] == [
        {"field": "jobs", "reason": "must be a list"},
        {"field": "note", "reason": "must be a string"},
        {"field": "triggers", "reason": "[0].url is required"},
        {
            "field": "triggers",
            "reason": "[0].condition 'x' must be one of always, success, failure",
        },
        {"field": "execute", "reason": "must be true or false"},
    ]


@pytest.mark.parametrize(
    ("status", "reason"), [("queued", "job 3 is queued, not pending"), ("success", "job 3 is")]
)
def test_only_pending_jobs_can_be_grouped(group, make_job, status, reason):
    make_job(status)

    response = group(jobs=[1, 3])

    assert response.status_code == 400
    assert response.json["errors"][0]["reason"].startswith(reason)


def test_a_job_is_in_one_group_at_most(group):
    group(execute=False)

    response = group()

    assert response.json["errors"] == [
        {"field": "jobs", "reason": f"job {job_id} is in group 1 already"} for job_id in (1, 2)
    ]


def test_the_jobs_of_others_cannot_be_grouped(group, make_job, stranger):
    make_job("pending", user=stranger)

    assert group(jobs=[3]).json["errors"] == [{"field": "jobs", "reason": "you have no job 3"}]


def test_whom_a_group_tells_is_its_owners_alone(
    client_of, make_job, backend, owner, stranger, admin
):
    make_job("pending", visibility=Visibility.PUBLIC)
    create_group(backend, owner, [1], None, [TRIGGER], execute=False)

    shown = [client_of(user).get("/api/job-group/1").json for user in (owner, stranger, admin)]

    assert [group["triggers"] for group in shown] == [[TRIGGER], [], []]
    assert [len(group["jobs"]) for group in shown] == [1, 1, 1]
