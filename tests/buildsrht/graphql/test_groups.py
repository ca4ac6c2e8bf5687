"""Groups: what makes one, and what is wrong with one, all at once."""

import pytest

CREATE = """
mutation ($jobs: [Int!]!, $triggers: [TriggerInput!], $execute: Boolean, $note: String) {
  createGroup(jobIds: $jobs, triggers: $triggers, execute: $execute, note: $note) {
    id note owner { canonicalName } jobs { id status }
    triggers {
      __typename condition
      ... on EmailTrigger { to cc inReplyTo }
      ... on WebhookTrigger { url }
    }
  }
}
"""
EMAIL = {
    "type": "EMAIL",
    "condition": "FAILURE",
    "email": {"to": "ann@example.org", "inReplyTo": "<1@example.org>"},
}
WEBHOOK = {"type": "WEBHOOK", "condition": "ALWAYS", "webhook": {"url": "https://example.org/"}}


def test_a_group_starts_its_jobs_and_tells_of_its_end(find, make_job):
    make_job("pending")
    make_job("pending")

    found = find(CREATE, jobs=[1, 2], triggers=[EMAIL, WEBHOOK], note="release")

    assert found["createGroup"] == {
        "id": 1,
        "note": "release",
        "owner": {"canonicalName": "~owner"},
        "jobs": [{"id": 1, "status": "QUEUED"}, {"id": 2, "status": "QUEUED"}],
        "triggers": [
            {
                "__typename": "EmailTrigger",
                "condition": "FAILURE",
                "to": "ann@example.org",
                "cc": None,
                "inReplyTo": "<1@example.org>",
            },
            {
                "__typename": "WebhookTrigger",
                "condition": "ALWAYS",
                "url": "https://example.org/",
            },
        ],
    }


def test_a_group_may_wait_and_is_started_once(find, fail, make_job):
    make_job("pending")
    start = "mutation { startGroup(groupId: 1) { jobs { status } } }"

    waiting = find(CREATE, jobs=[1], execute=False)["createGroup"]
    assert waiting["jobs"] == [{"id": 1, "status": "PENDING"}]
    assert find(start)["startGroup"]["jobs"] == [{"status": "QUEUED"}]
    assert fail(start)["extensions"]["code"] == "CONFLICT"


@pytest.mark.parametrize(
    ("jobs", "reason"),
    [
        ([], "needs 1 to 256 different job ids"),
        ([1, 1], "needs 1 to 256 different job ids"),
        ([2], "job 2 is queued, not pending"),
        ([3], "you have no job 3"),
        ([9], "you have no job 9"),
    ],
)
def test_a_job_that_cannot_be_in_a_group_is_named(
    fail, row_counts, make_job, stranger, jobs, reason
):
    make_job("pending")
    make_job("queued")
    make_job("pending", user=stranger)
    before = row_counts()

    error = fail(CREATE, jobs=jobs)

    assert error["message"] == f"jobIds: {reason}"
    assert error["extensions"] == {"code": "BAD_INPUT", "field": "jobIds"}
    assert row_counts() == before


def test_all_that_is_wrong_with_a_group_is_told_at_once(ask, row_counts, make_job):
    make_job("pending")
    before = row_counts()
    mixed = {**EMAIL, "type": "WEBHOOK"}

    errors = ask(CREATE, jobs=[1], triggers=[EMAIL, mixed], note="x" * 5000)["errors"]

    assert [error["message"] for error in errors] == [
        "triggers: [1] is of type WEBHOOK and needs `webhook`",
        "note: at most 4096 characters, got 5000",
    ]
    assert row_counts() == before


def test_triggers_keep_the_rules_of_manifests(ask, make_job):
    make_job("pending")
    no_url = {**WEBHOOK, "webhook": {"url": "nowhere"}}

    [error] = ask(CREATE, jobs=[1], triggers=[no_url])["errors"]

    assert error["extensions"] == {"code": "BAD_INPUT", "field": "triggers"}
    assert error["message"].startswith("triggers: [0].url")
