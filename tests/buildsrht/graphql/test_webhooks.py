"""Users' webhooks as clients of `POST /query` make, list, try out and delete them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from buildsrht.models import Delivery, OAuthClient, OAuthGrant, Token
from buildsrht.services import tokens, triggers
from buildsrht.services.opaque import digest_of
from buildsrht.services.scopes import SCOPES
from buildsrht.services.triggers import Attempt, Verdict
from tests.build_host import claim

URL = "https://example.org/hook"
QUERY = "query { webhook { uuid event date ... on JobEvent { job { id status } } } }"

# As hut asks.
CREATE = """mutation ($config: UserWebhookInput!) { createUserWebhook(config: $config) { id } }"""
LIST = """query ($cursor: Cursor) { userWebhooks(cursor: $cursor) { results { id url } cursor } }"""
DELETE = """mutation ($id: Int!) { deleteUserWebhook(id: $id) { id } }"""


@pytest.fixture
def ask(client_of):
    """What a client is answered: `ask(client, query, id=1)`; it is the owner's if none is given."""

    def post(client, query, **variables):
        response = client.post("/query", json={"query": query, "variables": variables})
        assert response.status_code == 200
        return response.json

    return post


@pytest.fixture
def mine(client_of, owner):
    """The owner, with a token that is good for everything."""
    return client_of(owner)


@pytest.fixture
def create(ask, mine):
    def make(client=mine, **config):
        config = {"url": URL, "events": ["JOB_CREATED"], "query": QUERY} | config
        return ask(client, CREATE, config=config)

    return make


@pytest.fixture
def program(backend, app, owner, stranger):
    """What a program sends that the owner has allowed these scopes: `program("Board")`."""

    def make(name, *scopes):
        client = OAuthClient(owner_id=stranger.id, name=name, redirect_uris=["https://a.example/"])
        scopes = list(scopes or SCOPES)
        with backend.transaction() as session:
            session.add(client)
            session.flush()
            grant = OAuthGrant(user_id=owner.id, client_id=client.id, scopes=scopes)
            session.add(grant)
            session.flush()
            session.add(
                Token(
                    user_id=owner.id,
                    hash=digest_of(f"token of {name}"),
                    scopes=scopes,
                    expires=datetime.now(UTC) + timedelta(days=1),
                    grant_id=grant.id,
                )
            )
        sender = app.test_client()
        sender.environ_base["HTTP_AUTHORIZATION"] = f"Bearer token of {name}"
        return sender

    return make


def codes(answer):
    return [error["extensions"]["code"] for error in answer["errors"]]


# --- hut's way ------------------------------------------------------------------------------------


def test_made_listed_and_deleted(ask, mine, create):
    assert create() == {"data": {"createUserWebhook": {"id": 1}}}
    create(url="https://example.org/other")
    assert ask(mine, LIST) == {
        "data": {
            "userWebhooks": {
                "results": [{"id": 2, "url": "https://example.org/other"}, {"id": 1, "url": URL}],
                "cursor": None,
            }
        }
    }
    assert ask(mine, DELETE, id=1) == {"data": {"deleteUserWebhook": {"id": 1}}}
    assert [each["id"] for each in ask(mine, LIST)["data"]["userWebhooks"]["results"]] == [2]
    assert codes(ask(mine, DELETE, id=1)) == ["NOT_FOUND"]


def test_many_come_in_pages(ask, mine, create):
    for _ in range(26):
        create()
    first = ask(mine, LIST)["data"]["userWebhooks"]
    second = ask(mine, LIST, cursor=first["cursor"])["data"]["userWebhooks"]
    assert [each["id"] for each in first["results"]] == list(range(26, 1, -1))
    assert ([each["id"] for each in second["results"]], second["cursor"]) == ([1], None)


def test_one_is_shown_with_all_that_was_said_of_it(ask, mine, create):
    create(events=["JOB_UPDATED", "JOB_CREATED"])
    shown = "{ userWebhook(id: 1) { __typename id url events query client { name } } }"
    assert ask(mine, shown)["data"]["userWebhook"] == {
        "__typename": "UserWebhookSubscription",
        "id": 1,
        "url": URL,
        "events": ["JOB_UPDATED", "JOB_CREATED"],
        "query": QUERY,
        "client": None,
    }
    assert ask(mine, "{ userWebhook(id: 2) { id } }") == {"data": {"userWebhook": None}}
    assert ask(mine, "{ userWebhook(id: -1) { id } }") == {"data": {"userWebhook": None}}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": "gopher://example.org/"}, "url"),
        ({"url": "https:///nowhere"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["JOB_CREATED", "JOB_CREATED"]}, "events"),
        ({"query": "nonsense"}, "query"),
        ({"query": "{ webhook { nonsense } }"}, "query"),
        ({"query": "mutation { start(jobID: 1) { id } }"}, "query"),
        ({"query": "query A { webhook { uuid } } query B { webhook { uuid } }"}, "query"),
        ({"query": "fragment A on Job { id }"}, "query"),
        ({"query": "subscription { webhook { uuid } }"}, "query"),
        ({"query": "query ($id: Int!) { job(id: $id) { id } }"}, "query"),
        ({"query": ""}, "query"),
        ({"query": "{ webhook { uuid } }" + " " * 70000}, "query"),
        ({"query": "{ webhook { uuid \0 } }"}, "config"),
    ],
)
def test_what_cannot_work_is_refused(create, row_counts, wrong, field):
    before = row_counts()
    answer = create(**wrong)
    assert answer["data"] is None
    assert {
        (error["extensions"]["code"], error["extensions"]["field"]) for error in answer["errors"]
    } == {("BAD_INPUT", field)}
    assert row_counts() == before


def test_every_problem_is_told_at_once(create):
    answer = create(url="x", events=[], query="{")
    assert [error["extensions"]["field"] for error in answer["errors"]] == [
        "url",
        "events",
        "query",
    ]


def test_nothing_else_may_ask_for_what_a_webhook_is_told(ask, mine):
    answer = ask(mine, "{ webhook { uuid } }")
    assert answer["data"] is None
    [error] = answer["errors"]
    assert error["message"] == (
        "webhook: only the query of a webhook may ask for it, when it is told of an event"
    )


# --- whose they are -------------------------------------------------------------------------------


def test_a_stranger_finds_nothing(ask, client_of, create, stranger, admin):
    create()
    for other in (client_of(stranger), client_of(admin)):
        assert ask(other, LIST)["data"]["userWebhooks"]["results"] == []
        assert ask(other, "{ userWebhook(id: 1) { id } }")["data"] == {"userWebhook": None}
        assert codes(ask(other, DELETE, id=1)) == ["NOT_FOUND"]


def test_programs_find_what_they_have_made(ask, mine, create, program):
    board, other = program("Board"), program("Other")
    create()
    create(board)

    assert [each["id"] for each in ask(board, LIST)["data"]["userWebhooks"]["results"]] == [2]
    assert ask(other, LIST)["data"]["userWebhooks"]["results"] == []
    assert ask(other, "{ userWebhook(id: 2) { id } }")["data"] == {"userWebhook": None}
    for webhook_id in (1, 2):
        assert codes(ask(other, DELETE, id=webhook_id)) == ["NOT_FOUND"]
    shown = "{ userWebhooks { results { id client { name uuid } } } }"
    second, first = ask(mine, shown)["data"]["userWebhooks"]["results"]
    assert (second["client"]["name"], first["client"]) == ("Board", None)
    assert UUID(second["client"]["uuid"])
    assert ask(mine, DELETE, id=2)["data"] == {"deleteUserWebhook": {"id": 2}}


def test_a_build_has_none(ask, app, backend, create, make_job):
    create()
    run = claim(backend, make_job("queued").id, "host-1")
    build = app.test_client()
    text = tokens.create_job_token(backend, run, ["JOBS:RW"])
    build.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {text}"

    for answer in (
        create(build),
        ask(build, LIST),
        ask(build, DELETE, id=1),
        ask(build, "{ userWebhook(id: 1) { url } }"),
    ):
        assert codes(answer) == ["FORBIDDEN"]


# --- samples --------------------------------------------------------------------------------------

SAMPLE = """query ($id: Int!) {
  userWebhook(id: $id) { created: sample(event: JOB_CREATED) updated: sample(event: JOB_UPDATED) }
}"""


def test_a_sample_is_what_would_be_sent(ask, mine, create, make_job, row_counts):
    create()
    make_job("success")
    before = row_counts()
    sample = ask(mine, SAMPLE, id=1)["data"]["userWebhook"]["updated"]
    assert sample.startswith(
        '{"data": {"webhook": {"uuid": "00000000-0000-0000-0000-000000000000", '
        '"event": "JOB_UPDATED", "date": "'
    )
    assert sample.endswith('", "job": {"id": 1, "status": "SUCCESS"}}}}')
    assert row_counts() == before


EVERYTHING = """{ webhook { uuid event date ... on JobEvent { job {
    id created updated status manifest note tags visibility image runner arch url
    owner { canonicalName } group { id } tasks { id name status log { last128KiB fullURL } }
    artifacts { url } log { last128KiB fullURL } secrets { name }
    events { kind } transitions { to } waitsFor { code }
    plan { image sources { url } steps { name } }
} } } }"""


def test_a_job_that_is_made_up_answers_for_everything(ask, mine, create):
    create(query=EVERYTHING)
    sample = ask(mine, SAMPLE, id=1)
    assert "errors" not in sample
    for text in sample["data"]["userWebhook"].values():
        assert '"errors"' not in text
        assert '"note": "This job is made up: you have none yet."' in text


def test_a_sample_does_not_disturb_what_else_is_asked(ask, mine, create, make_job):
    create()
    make_job("success")
    shown = """{
        before: job(id: 1) { status }
        userWebhook(id: 1) { sample(event: JOB_CREATED) }
        after: job(id: 1) { status tasks { job { status } } }
    }"""
    said = ask(mine, shown)["data"]
    assert '"status": "QUEUED"' in said["userWebhook"]["sample"]
    assert said["before"]["status"] == said["after"]["status"] == "SUCCESS"


def test_a_webhook_cannot_ask_for_its_own_sample(ask, mine, create, make_job):
    create(query="{ userWebhooks { results { sample(event: JOB_CREATED) } } }")
    make_job()
    sample = ask(mine, SAMPLE, id=1)["data"]["userWebhook"]["created"]
    assert "the query of a webhook may not ask for samples, its own among them" in sample


def test_a_webhook_shows_nobody_more_than_they_may_see(
    ask, client_of, owner, create, make_job, backend
):
    """What a token may not read itself it does not read by way of another's webhook."""
    create(query="{ webhook { ... on JobEvent { job { log { last128KiB } } } } }")
    make_job()
    less = client_of(owner, "JOBS:RW")
    for field in ("sample(event: JOB_CREATED)", "deliveries { results { requestBody } }"):
        answer = ask(less, f"{{ userWebhook(id: 1) {{ {field} }} }}")
        assert answer["data"] == {"userWebhook": None}
        assert codes(answer) == ["FORBIDDEN"]
        assert (
            "is for tokens with LOGS:RO, PROFILE:RO, SECRETS:RO" in answer["errors"][0]["message"]
        )


# --- deliveries -----------------------------------------------------------------------------------

DELIVERIES = """{ userWebhook(id: 1) { deliveries { cursor results {
    uuid date event requestBody responseStatus responseHeaders responseBody subscription { id }
} } } }"""


@pytest.fixture
def settle(backend):
    """Have the only delivery attempted, to this end."""

    def end(**answer):
        errand = triggers.claim(backend, 1)
        triggers.keep_payload(backend, errand.delivery, '{"data": {}}')
        triggers.settle(backend, errand.delivery, Attempt(Verdict.AGAIN, "no", **answer))

    return end


@pytest.fixture
def delivery(ask, mine):
    """The only delivery, as its owner sees it."""

    def show():
        [shown] = ask(mine, DELIVERIES)["data"]["userWebhook"]["deliveries"]["results"]
        return shown

    return show


def test_a_delivery_that_was_not_attempted_has_nothing_to_show(create, make_job, delivery, backend):
    create()
    make_job()
    with backend.transaction() as session:
        row = session.scalars(select(Delivery)).one()
    assert delivery() == {
        "uuid": str(row.uuid),
        "date": row.created.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
        "event": "JOB_CREATED",
        "requestBody": "",
        "responseStatus": None,
        "responseHeaders": None,
        "responseBody": None,
        "subscription": {"id": 1},
    }


def test_a_delivery_shows_what_was_sent_and_what_came_back(create, make_job, delivery, settle):
    create()
    make_job()
    headers = {"Server": "x", "content-type": "text/plain; charset=utf-8"}
    settle(response_status=503, response_headers=headers, response_body="come back later")
    shown = delivery()
    assert shown["requestBody"] == '{"data": {}}'
    assert shown["responseStatus"] == 503
    assert shown["responseHeaders"] == "Server: x\r\ncontent-type: text/plain; charset=utf-8\r\n"
    assert shown["responseBody"] == "come back later"


@pytest.mark.parametrize(
    ("kind", "is_shown"),
    [
        ("text/html", True),
        ("TEXT/Plain", True),
        ("application/json", True),
        ("application/problem+json; charset=utf-8", True),
        ("application/octet-stream", False),
        ("image/png", False),
        ("textual/thing", False),
    ],
)
def test_only_text_is_shown(create, make_job, delivery, settle, kind, is_shown):
    create()
    make_job()
    settle(response_status=200, response_headers={"Content-Type": kind}, response_body="said")
    assert delivery()["responseBody"] == ("said" if is_shown else None)


def test_an_answer_of_no_type_is_no_text(create, make_job, delivery, settle):
    create()
    make_job()
    settle(response_status=200, response_headers={}, response_body="said")
    assert delivery()["responseBody"] is None


def test_deliveries_come_in_pages_of_their_own_webhook(ask, mine, create, make_job):
    create()
    create()
    for _ in range(26):
        make_job()
    shown = """query ($id: Int!, $cursor: Cursor) {
        userWebhook(id: $id) { deliveries(cursor: $cursor) { cursor results { uuid } } }
    }"""
    first = ask(mine, shown, id=1)["data"]["userWebhook"]["deliveries"]
    second = ask(mine, shown, id=1, cursor=first["cursor"])["data"]["userWebhook"]["deliveries"]
    assert (len(first["results"]), len(second["results"]), second["cursor"]) == (25, 1, None)
    assert len({each["uuid"] for each in first["results"] + second["results"]}) == 26
    assert codes(ask(mine, shown, id=2, cursor=first["cursor"])) == ["BAD_INPUT"]
