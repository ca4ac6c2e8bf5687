"""From a text to a response: errors, what mutations see, texts, webhooks' queries."""

import logging
from dataclasses import replace

import pytest
from sqlalchemy import create_engine

from buildsrht.errors import BadInput
from buildsrht.graphql.engine import check_webhook_query
from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.graphql.schema import SCHEMA

ALL = ("JOBS:RW", "PROFILE:RW", "LOGS:RW", "SECRETS:RW")


# --- what mutations see -----------------------------------------------------------------------


def test_mutations_run_in_order_and_each_returns_what_it_made(find, make_job):
    make_job("pending")
    found = find(
        "mutation { start(jobID: 1) { status } cancel(jobId: 1) { status tasks { status } } }"
    )
    assert found == {
        "start": {"status": "QUEUED"},
        "cancel": {"status": "CANCELLED", "tasks": [{"status": "PENDING"}] * 2},
    }


def test_a_mutation_that_fails_leaves_the_next_one_its_turn(ask, make_job):
    make_job("pending")
    response = ask("mutation { a: cancel(jobId: 9) { id } b: cancel(jobId: 1) { status } }")

    assert response["data"] == {"a": None, "b": {"status": "CANCELLED"}}
    assert [error["path"] for error in response["errors"]] == [["a"]]


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mutation", "code"),
    [
        ("cancel(jobId: 9)", "NOT_FOUND"),
        ("cancel(jobId: 1)", "CONFLICT"),
        ("cancel(jobId: 2)", "FORBIDDEN"),
        ("cancel(jobId: 3)", "NOT_FOUND"),
        ("cancel(jobId: -1)", "NOT_FOUND"),
        ("createGroup(jobIds: [])", "BAD_INPUT"),
        ("startGroup(groupId: 1)", "NOT_FOUND"),
        ("deleteSSHKey(id: 1)", "NOT_FOUND"),
        ("revokePersonalAccessToken(id: 1)", "NOT_FOUND"),
        ('deleteSecret(uuid: "x")', "BAD_INPUT"),
        ('deleteSecret(uuid: "00000000-0000-4000-8000-000000000000")', "NOT_FOUND"),
        ('createSSHKey(key: "ssh-rsa")', "BAD_INPUT"),
    ],
)
def test_the_class_of_an_error_is_its_code(fail, make_job, stranger, mutation, code):
    make_job("success")
    make_job(user=stranger)
    make_job(user=stranger, visibility="private")

    error = fail(f"mutation {{ {mutation} {{ __typename }} }}")

    assert error["extensions"]["code"] == code
    assert error["message"]
    assert error["path"] == [mutation.partition("(")[0]]
    assert error["locations"] == [{"line": 1, "column": 12}]


def test_every_problem_is_an_error_of_its_own(ask, row_counts):
    before = row_counts()
    response = ask(
        "mutation ($note: String) {"
        ' submit(manifest: "image: nope", note: $note, tags: ["/", ""], treeDirectory: "x")'
        " { id } }",
        note="x" * 5000,
    )
    fields = [error["extensions"]["field"] for error in response["errors"]]

    assert sorted(set(fields)) == ["manifest", "note", "tags", "treeDirectory"]
    assert {error["extensions"]["code"] for error in response["errors"]} == {"BAD_INPUT"}
    assert response["data"] is None
    assert row_counts() == before


def test_a_mistake_of_ours_is_logged_and_not_told(monkeypatch, caplog, fail):
    def broken(*_):
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr("buildsrht.graphql.jobs.job_service.require_job", broken)
    error = fail("{ job(id: 1) { id } }")

    assert error["extensions"] == {"code": "INTERNAL"}
    assert "secret" not in str(error)
    assert "ZeroDivisionError: a secret of ours" in caplog.text


def test_a_database_that_is_away_is_told_of_and_no_statement(backend, owner, caplog):
    engine = create_engine("postgresql+psycopg2://nobody@/nothing?host=/nonexistent")
    away = replace(backend, engine=engine)
    with caplog.at_level(logging.ERROR):
        response = execute(
            away, Asker(owner, ALL), Request("{ version { major } job(id: 1) { id } }")
        )

    assert response["data"] == {"version": {"major": 1}, "job": None}
    [error] = response["errors"]
    assert error["extensions"] == {"code": "UNAVAILABLE"}
    assert "nonexistent" not in error["message"]
    assert "nonexistent" in caplog.text


def test_redis_that_is_away_hides_no_more_than_it_holds(monkeypatch, backend, ask, make_job):
    from redis.exceptions import ConnectionError as Away

    make_job("running")

    def away(*_):
        raise Away("no route")

    monkeypatch.setattr(backend.redis, "strlen", away)
    response = ask("{ job(id: 1) { id log { last128KiB } } }")

    assert response["data"] == {"job": {"id": 1, "log": None}}
    assert response["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}


# --- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "x\udfff"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("query ($text: String!) { user(username: $text) { id } }", "username"),
        ("query ($text: String!) { lint(manifest: $text) { reason } }", "manifest"),
        (
            "query ($text: String!) { sshKeyByFingerprint(fingerprint: $text) { id } }",
            "fingerprint",
        ),
        ("query ($text: Cursor) { jobs(cursor: $text) { cursor } }", "cursor"),
        ("mutation ($text: String!) { submit(manifest: $text) { id } }", "manifest"),
        ('mutation ($text: String!) { submit(manifest: "", tags: [$text]) { id } }', "tags"),
        ("mutation ($text: String!) { createSSHKey(key: $text) { id } }", "key"),
        ("mutation ($text: String!) { deleteSecret(uuid: $text) { id } }", "uuid"),
        (
            "mutation ($text: String!) { createSecret(secret: {type: FILE, name: $text}) { id } }",
            "secret",
        ),
        (
            """mutation ($text: String!) { createGroup(jobIds: [1], triggers: [
               {type: EMAIL, condition: ALWAYS, email: {to: $text}}]) { id } }""",
            "triggers",
        ),
    ],
)
def test_text_that_the_database_cannot_keep_is_refused_by_name(fail, query, field, text):
    error = fail(query, text=text)
    assert error["extensions"] == {"code": "BAD_INPUT", "field": field}


@pytest.mark.parametrize(
    "variables",
    [{}, {"id": None}, {"id": "1"}, {"id": 1.5}, {"id": 2**31}, {"id": True}, {"id": []}],
)
def test_variables_of_the_wrong_kind_are_refused(ask, variables):
    response = ask("query ($id: Int!) { job(id: $id) { id } }", **variables)

    assert response["errors"][0]["extensions"] == {"code": "BAD_QUERY"}
    assert response.get("data") is None


def test_an_operation_is_chosen_by_its_name(backend, owner):
    text = "query a { version { major } } query b { version { minor } }"

    chosen = execute(backend, Asker(owner, ALL), Request(text, operation_name="b"))
    assert chosen == {"data": {"version": {"minor": 0}}}
    unknown = execute(backend, Asker(owner, ALL), Request(text, operation_name="\ud800"))
    assert unknown["errors"][0]["extensions"] == {"code": "BAD_QUERY"}


def test_a_file_cannot_come_as_text(fail):
    for upload in ('"x"', "1", "{}"):
        error = fail(
            f"mutation {{ createSecret(secret: {{type: FILE, upload: {upload}}}) {{ id }} }}"
        )
        assert error["extensions"] == {"code": "BAD_QUERY"}


# --- the queries of webhooks ------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "{ webhook { uuid event date } }",
        """query told { webhook { ... on JobEvent { job { ...some } } } }
           fragment some on Job { id status }""",
    ],
)
def test_a_query_is_what_a_webhook_may_have(query):
    check_webhook_query(SCHEMA, query)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "x",
        "{ nope }",
        "mutation { cancel(jobId: 1) { id } }",
        "query a { webhook { uuid } } query b { webhook { uuid } }",
        "query a { webhook { uuid } } mutation b { cancel(jobId: 1) { id } }",
        "subscription { webhook { uuid } }",
        "{ webhook {" + " uuid" * 201 + " } }",
        "\0",
    ],
)
def test_what_is_no_query_is_refused_by_name(query):
    with pytest.raises(BadInput) as refused:
        check_webhook_query(SCHEMA, query)
    assert {field for field, _ in refused.value.errors} == {"query"}


def test_each_request_gives_back_its_connection(backend, ask, make_job):
    make_job()
    for query in ("{ job(id: 1) { id } }", "{ job(id: 9) { id tasks { id } } }", "{ nope }"):
        ask(query)
    assert backend.engine.pool.checkedout() == 0
