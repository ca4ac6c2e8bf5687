"""What one request may ask for. What well-known clients ask is far below."""

import time

import pytest
from graphql import get_introspection_query
from sqlalchemy import text

from buildsrht.graphql import context, limits
from buildsrht.services import jobs

DEEP = "{ job(id: 1) { group " + "{ jobs { group " * 6 + "{ id }" + " } }" * 6 + " } }"

# Of the shapes that hut and libraries for this family of APIs send.
USUAL = {
    "list": """
        query list($after: Cursor) {
          userByName(username: "owner") { jobs(cursor: $after) { ...some } }
        }
        fragment some on JobCursor {
          results { id status note tags tasks { name status } } cursor
        }""",
    "export": """
        query export($after: Cursor) { jobs(cursor: $after) { results { ...all } cursor } }
        fragment all on Job {
          id status note tags visibility log { fullURL } tasks { name status log { fullURL } }
        }""",
    "show": """
        query show { job(id: 1) {
          id status note tags log { fullURL } owner { canonicalName }
          tasks { name status log { fullURL } } group { jobs { id status } }
        } }""",
    "follow": """
        query follow { job(id: 1) {
          status log { fullURL } tasks { name status log { fullURL } }
        } }""",
    "artifacts": "query artifacts { job(id: 1) { artifacts { path size url } } }",
    "edit": "query edit { job(id: 1) { manifest tags visibility owner { canonicalName } } }",
    "ssh": "query ssh { job(id: 1) { id runner } version { settings { sshUser } } }",
    "secrets": """
        query secrets { secrets {
          results { created uuid name fromUser { canonicalName } __typename
                    ... on SecretFile { path mode } }
          cursor
        } }""",
    "webhooks": """
        query hooks($after: Cursor) {
          userWebhooks(cursor: $after) { results { id url } cursor }
        }""",
    "whoami": """
        query whoami { me { ...user } }
        fragment user on User { canonicalName email url location bio }""",
    "keys": """
        query keys($after: Cursor) { me { ...ssh ...pgp } }
        fragment ssh on User {
          sshKeys(cursor: $after) { results { id fingerprint comment key } cursor }
        }
        fragment pgp on User {
          pgpKeys(cursor: $after) { results { id fingerprint key } cursor }
        }""",
    "tokens": "query tokens { personalAccessTokens { issued expires comment grants } }",
    "everything of a page": """
        { jobs { results {
            id status created updated image runner visibility tags note manifest arch url
            owner { canonicalName } group { id } log { fullURL }
            tasks { id name status log { fullURL } } artifacts { path size url }
        } cursor } }""",
}


@pytest.mark.parametrize("query", USUAL.values(), ids=USUAL)
def test_what_clients_usually_ask_is_answered(find, make_job, query):
    make_job()
    assert find(query)


def test_introspection_answers_what_tools_ask(find):
    found = find(
        get_introspection_query(
            descriptions=True,
            specified_by_url=True,
            directive_is_repeatable=True,
            schema_description=True,
            input_value_deprecation=True,
        )
    )
    kinds = {kind["name"]: kind for kind in found["__schema"]["types"]}
    assert "Beyond builds.sr.ht" in str(kinds["Mutation"])


def doubling(levels: int) -> str:
    """A query whose fragments, each spread twice in the next, come to 2 ** levels fields."""
    fragments = [f"fragment f{n} on Job {{ ...f{n + 1} ...f{n + 1} }}" for n in range(1, levels)]
    last = f"fragment f{levels} on Job {{ id }}"
    return "\n".join(["{ job(id: 1) { ...f1 ...f1 } }", *fragments, last])


TOO_MUCH = {
    "aliases": "{" + " ".join(f"j{n}: job(id: {n}) {{ id }}" for n in range(101)) + "}",
    "repetition": "{ " + "__typename " * 201 + "}",
    "fragments that double": doubling(8),
    "fragments that double without end": doubling(100),
    "a page for each of a page": """
        { jobs { results { owner { ... on User { jobs { results { id status note tags runner
                                                                  image arch } } } } } } }""",
    "lists in lists": "{ job(id: 1) { tasks { job { tasks { job { tasks { id name } } } } } } }",
    "depth": DEEP,
    "mutations": "mutation {"
    + " ".join(f"c{n}: cancel(jobId: {n}) {{ id }}" for n in range(19))
    + "}",
    "a fragment that nobody uses": "{ me { id } } fragment x on User {" + " id" * 201 + " }",
    "introspection": "{ __schema { types {" + " name" * 501 + " } } }",
}


@pytest.mark.parametrize("query", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_too_much_is_refused_before_anything_is_done(ask, row_counts, query):
    response = ask(query)

    assert "data" not in response
    [error] = response["errors"]
    assert error["message"].startswith("the query is too large")
    assert error["extensions"] == {"code": "LIMIT"}


HOSTILE = {
    "long": "{ me { id } } #" + "x" * 10**6,
    "many tokens": "{ " + "a " * 20_000 + "}",
    "deep": "{ a " * 900 + "}" * 900,
    "deep in a list": "{ job(id: " + "[" * 900 + "]" * 900 + ") { id } }",
    "deep in a type": "query ($x: " + "[" * 900 + "Int" + "]" * 900 + ") { me { id } }",
    "a chain of fragments": "{ me { ...f0 } } "
    + " ".join(f"fragment f{n} on User {{ ...f{n + 1} }}" for n in range(240)),
    "a fragment of itself": "{ me { ...f } } fragment f on User { ...f ...f id }",
    "fragments of each other": "{ me { ...f ...g } } fragment f on User { ...g } "
    "fragment g on User { ...f }",
    "many that conflict": "{ " + " ".join(f"a: job(id: {n}) {{ id }}" for n in range(60)) + " }",
    "many spreads": "{ me { " + "...f " * 600 + "} } fragment f on User { ...f }",
    "introspection in circles": "{ __schema { types { fields { type { fields { type { fields {"
    " type { fields { type { name } } } } } } } } } } }",
    "no operation": "fragment f on User { id }",
    "two operations": "query a { me { id } } query b { me { id } }",
    "a subscription": "subscription { jobs { id } }",
    "a schema": "type Query { me: Int }",
    "a long number": "{ job(id: " + "9" * 5000 + ") { id } }",
    "a number out of range": "{ job(id: 2147483648) { id } }",
    "half of a pair": '{ user(username: "\\ud800") { id } }',
    "half of a pair in the text": '{ user(username: "\ud800") { id } }',
    "nothing": "",
}


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_refused_at_once_and_with_a_reason(ask, query):
    began = time.monotonic()
    response = ask(query)

    assert time.monotonic() - began < 1
    assert response["errors"]
    assert {error["extensions"]["code"] for error in response["errors"]} <= {"BAD_QUERY", "LIMIT"}
    assert len(response["errors"]) <= 21


def test_fields_count_where_fragments_put_them(fail):
    query = "{ me { id ...f } } fragment f on User {" + " id" * 198 + " }"
    assert "201, and the limit is 200" in fail(query.replace("me { id", "me { id id"))["message"]


def test_a_fragment_may_use_all_that_there_is(find):
    assert find("{ me { ...f } } fragment f on User {" + " id" * 199 + " }")


# --- time -------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Seconds that are added to the clock by which queries are measured."""
    added = [0.0]
    real = time.monotonic
    monkeypatch.setattr(context.time, "monotonic", lambda: real() + added[0])
    return added


def test_a_query_that_takes_too_long_ends(monkeypatch, clock, ask, make_job):
    make_job()
    monkeypatch.setattr(
        "buildsrht.graphql.jobs.job_service.require_job",
        lambda *_: clock.__setitem__(0, context.SECONDS + 1),
    )
    response = ask("{ first: job(id: 1) { id } second: job(id: 1) { id } }")

    assert response["data"] == {"first": None, "second": None}
    [error] = response["errors"]
    assert error["path"] == ["second"]
    assert error["extensions"] == {"code": "LIMIT"}
    assert "3 seconds" in error["message"]


def test_the_database_gives_up_with_the_query_and_other_fields_have_their_answers(monkeypatch, ask):
    monkeypatch.setattr(context, "SECONDS", 0.2)
    monkeypatch.setattr(
        "buildsrht.graphql.jobs.job_service.require_job",
        lambda session, *_: session.execute(text("SELECT pg_sleep(10)")),
    )
    began = time.monotonic()
    [error] = ask("{ version { major } job(id: 1) { id } }")["errors"]

    assert time.monotonic() - began < 2
    assert error["extensions"] == {"code": "LIMIT"}


def test_a_mutation_takes_the_time_that_it_takes(monkeypatch, clock, find, make_job):
    real = jobs.cancel

    def slow(*arguments):
        real(*arguments)
        clock[0] += context.SECONDS + 1

    make_job("pending")
    monkeypatch.setattr("buildsrht.graphql.jobs.job_service.cancel", slow)

    found = find("mutation { cancel(jobId: 1) { status tasks { status } } }")
    assert found["cancel"]["status"] == "CANCELLED"


def test_mutations_that_took_long_are_the_last_of_their_request(
    monkeypatch, clock, ask, fetch, make_job
):
    real = jobs.cancel

    def slow(*arguments):
        real(*arguments)
        clock[0] += context.CHANGING_SECONDS + 1

    make_job("pending")
    make_job("pending")
    monkeypatch.setattr("buildsrht.graphql.jobs.job_service.cancel", slow)

    response = ask("mutation { a: cancel(jobId: 1) { status } b: cancel(jobId: 2) { status } }")

    assert response["data"] == {"a": {"status": "CANCELLED"}, "b": None}
    assert [error["extensions"]["code"] for error in response["errors"]] == ["LIMIT"]
    assert fetch(2).status == "pending"


def test_one_answer_has_so_many_characters(monkeypatch, ask, make_job, write_log):
    job = make_job("running")
    write_log(job, "build", b"x" * 600, seal=True)
    write_log(job, "test", b"x" * 600, seal=True)
    monkeypatch.setattr(context, "CHARACTERS", 1000)

    [error] = ask("{ job(id: 1) { tasks { log { last128KiB } } } }")["errors"]

    assert error["path"] == ["job", "tasks", 1, "log", "last128KiB"]
    assert error["extensions"] == {"code": "LIMIT"}


def test_a_text_counts_under_each_name_that_it_is_asked_by(monkeypatch, ask, make_job):
    make_job()
    monkeypatch.setattr(context, "CHARACTERS", 500)
    names = " ".join(f"m{n}: manifest" for n in range(100))

    assert ask(f"{{ job(id: 1) {{ {names} }} }}")["data"] == {"job": None}


def test_what_is_fetched_for_many_rows_is_fetched_in_parts(monkeypatch, find, make_job):
    for _ in range(5):
        make_job()
    monkeypatch.setattr(context, "TOGETHER", 2)

    found = find("{ jobs { results { tasks { job { id } } artifacts { id } } } }")

    assert [job["tasks"][0]["job"]["id"] for job in found["jobs"]["results"]] == [5, 4, 3, 2, 1]


def test_the_limits_are_those_that_clients_of_the_original_know():
    assert (limits.COMPLEXITY, context.SECONDS, limits.PAGE) == (200, 3, 25)


def test_an_answer_has_a_hundred_errors_at_most(ask):
    response = ask(
        'mutation ($tags: [String!]) { submit(manifest: "", tags: $tags) { id } }',
        tags=["\0"] * 1000,
    )
    assert len(response["errors"]) == 100
