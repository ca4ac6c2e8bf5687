"""A user's webhook as its receiver sees it: what its query finds, signed, the same each time."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, exc, func, update

from buildsrht.courier import delivery
from buildsrht.graphql import answers
from buildsrht.graphql.execution import Asker, Request, execute
from buildsrht.models import JobStatus, OAuthClient, OAuthGrant, TaskStatus, Visibility, Webhook
from buildsrht.services import jobs, runs, triggers, webhooks
from tests.build_host import claim, finish
from tests.buildsrht.courier.conftest import receiving
from tests.buildsrht.courier.test_webhook import verify

RUNNER = "host-1"
QUERY = """
{
  webhook {
    uuid
    event
    date
    ... on JobEvent { job { id status tags tasks { name status } } }
  }
}
"""


@pytest.fixture
def subscribe(backend, owner):
    """A webhook of the owner's: `subscribe(receiver.url, "JOB_CREATED", query=...)`."""

    def make(url, *events, query=QUERY, scopes=("JOBS:RW", "PROFILE:RO"), client_id=None):
        asker = Asker(owner, scopes, client_id)
        return webhooks.create_webhook(
            backend, asker, url, events or ("JOB_CREATED",), query, lambda _: None
        )

    return make


@pytest.fixture
def courier(backend, deliveries):
    """Let couriers attempt all that is due, and return every delivery."""

    def work():
        for _ in deliveries():
            delivery.perform(backend)
        return deliveries()

    return work


def told(request):
    return json.loads(request.body)["data"]["webhook"]


def test_an_event_is_told_in_the_words_of_the_query(
    subscribe, receiver, make_job, courier, backend
):
    subscribe(receiver.url)
    make_job("queued", tags=["a", "b"], visibility=Visibility.PRIVATE)

    [row] = courier()

    [request] = receiver.requests
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Webhook-Event"] == "JOB_CREATED"
    assert request.headers["X-Webhook-Delivery"] == str(row.uuid)
    verify(backend, request)
    assert json.loads(request.body) == {
        "data": {
            "webhook": {
                "uuid": str(row.uuid),
                "event": "JOB_CREATED",
                "date": row.created.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
                "job": {
                    "id": 1,
                    "status": "QUEUED",
                    "tags": ["a", "b"],
                    "tasks": [
                        {"name": "build", "status": "PENDING"},
                        {"name": "test", "status": "PENDING"},
                    ],
                },
            }
        }
    }
    assert (row.status, row.payload) == ("delivered", request.body.decode())


def test_events_in_quick_succession_each_show_their_own_state(
    subscribe, receiver, make_job, courier, backend
):
    subscribe(receiver.url, "JOB_CREATED", "JOB_UPDATED")
    job = make_job("queued")
    run = claim(backend, job.id, RUNNER)
    runs.move_run_task(backend, run, job.tasks[0].id, TaskStatus.RUNNING)
    finish(backend, run, JobStatus.FAILED)

    courier()

    states = [
        (
            request.headers["X-Webhook-Event"],
            told(request)["job"]["status"],
            told(request)["job"]["tasks"][0]["status"],
        )
        for request in receiver.requests
    ]
    # In which order they come is not promised.
    assert sorted(states) == [
        ("JOB_CREATED", "QUEUED", "PENDING"),
        ("JOB_UPDATED", "FAILED", "FAILED"),
        ("JOB_UPDATED", "FAILED", "RUNNING"),
        ("JOB_UPDATED", "RUNNING", "PENDING"),
        ("JOB_UPDATED", "RUNNING", "RUNNING"),
    ]


def test_the_rest_of_a_query_is_answered_as_things_are(subscribe, receiver, make_job, courier):
    subscribe(
        receiver.url,
        query="""{
            webhook { ... on JobEvent { job { status tasks { job { status } } } } }
            job(id: 1) { status }
            me { canonicalName }
        }""",
    )
    make_job("success")
    courier()
    [request] = receiver.requests
    said = json.loads(request.body)["data"]
    assert said["webhook"]["job"]["status"] == "QUEUED"
    assert said["webhook"]["job"]["tasks"] == [{"job": {"status": "QUEUED"}}] * 2
    assert said["job"] == {"status": "SUCCESS"}
    assert said["me"] == {"canonicalName": "~owner"}


def test_a_change_of_tags_is_told_as_an_update(
    subscribe, receiver, make_job, courier, backend, owner
):
    subscribe(receiver.url, "JOB_UPDATED")
    make_job("queued")
    jobs.update_job(backend, 1, owner, tags=["new"])
    courier()
    [request] = receiver.requests
    assert (told(request)["event"], told(request)["job"]["tags"]) == ("JOB_UPDATED", ["new"])


def test_the_page_shows_what_works(receiver, make_job, courier, backend, owner):
    make, look = shown("graphql")
    variables, answer = map(json.loads, shown("json"))
    variables["config"]["url"] = receiver.url
    everything = Asker(owner, ("JOBS:RW", "LOGS:RO"))
    made = execute(backend, everything, Request(make, variables))
    assert made == {"data": {"createUserWebhook": {"id": 1}}}
    make_job("running", manifest="image: debian/trixie\ntasks:\n- build: make\n")

    courier()

    sent = json.loads(receiver.requests[-1].body)
    assert shape(sent) == shape(answer)
    assert "errors" not in execute(backend, everything, Request(look))


def shown(language):
    """The blocks in this language of the page on webhooks."""
    page = Path(__file__).parents[3] / "docs/webhooks.md"
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def shape(value):
    """A document without what is in it."""
    match value:
        case dict():
            return {key: shape(item) for key, item in value.items()}
        case list():
            return [shape(item) for item in value]
    return type(value)


def test_nobody_elses_jobs_are_told(subscribe, receiver, make_job, stranger, courier):
    subscribe(receiver.url, "JOB_CREATED", "JOB_UPDATED")
    make_job("success", user=stranger, visibility=Visibility.PUBLIC)
    assert courier() == []
    assert receiver.requests == []


# --- the same each time ---------------------------------------------------------------------------


def test_a_receiver_that_was_down_gets_the_same_body_when_it_is_back(
    subscribe, make_job, courier, backend, make_due
):
    with receiving() as receiver:
        port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])
    subscribe(receiver.url)
    make_job("queued")
    [first] = courier()
    assert (first.status, first.attempts, first.response_status) == ("waiting", 1, None)

    # What it tells of moves on.
    claim(backend, 1, RUNNER)
    with receiving(port) as receiver:
        receiver.will_answer(503)
        for _ in range(3):
            make_due()
            [row] = courier()

    assert (row.status, row.attempts) == ("delivered", 3)
    assert [request.body.decode() for request in receiver.requests] == [first.payload] * 2
    assert {request.headers["X-Webhook-Delivery"] for request in receiver.requests} == {
        str(row.uuid)
    }
    assert told(receiver.requests[-1])["job"]["status"] == "QUEUED"


def test_a_replay_sends_the_same_as_a_new_delivery(
    subscribe, receiver, make_job, courier, backend, owner
):
    subscribe(receiver.url)
    make_job("success")
    [first] = courier()
    assert triggers.replay(backend, first.id, owner) == 2

    [_, again] = courier()

    one, other = receiver.requests
    assert (again.replay_of, again.status) == (first.id, "delivered")
    assert one.body == other.body
    assert other.headers["X-Webhook-Delivery"] == str(again.uuid) != str(first.uuid)
    assert other.headers["X-Webhook-Event"] == "JOB_CREATED"
    assert told(other)["uuid"] == str(first.uuid)


# --- queries that fail ----------------------------------------------------------------------------


def test_what_a_query_may_not_see_is_told_as_an_error(subscribe, receiver, make_job, courier):
    subscribe(
        receiver.url,
        query="{ webhook { ... on JobEvent { job { id log { fullURL } } } } }",
        scopes=("JOBS:RO",),
    )
    make_job("queued")
    [row] = courier()
    [request] = receiver.requests
    said = json.loads(request.body)
    assert row.status == "delivered"
    assert said["data"] == {"webhook": {"job": {"id": 1, "log": None}}}
    [error] = said["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["webhook", "job", "log"], "FORBIDDEN")


@pytest.mark.parametrize(
    "query", ["{ webhook { nonsense } }", "{", "mutation { cancel(jobId: 1) }"]
)
def test_a_query_that_a_later_release_refuses_is_told_once_as_refused(
    subscribe, receiver, make_job, courier, fetch, query
):
    subscribe(receiver.url, query=query)
    make_job("queued")
    [row] = courier()
    [request] = receiver.requests
    assert (row.status, row.attempts) == ("delivered", 1)
    assert json.loads(request.body)["errors"]
    assert fetch(1).status == "queued"


def test_an_answer_that_is_too_long_is_told_as_an_error(
    subscribe, receiver, make_job, courier, monkeypatch
):
    monkeypatch.setattr(answers, "MOST_BYTES", 100)
    subscribe(receiver.url)
    make_job("queued")
    courier()
    [request] = receiver.requests
    assert json.loads(request.body) == {
        "data": None,
        "errors": [
            {
                "message": "what the query finds has more than 100 bytes",
                "extensions": {"code": "LIMIT"},
            }
        ],
    }


def test_a_query_that_found_the_database_away_is_asked_again(
    subscribe, receiver, make_job, courier, monkeypatch, make_due
):
    def away(*_):
        raise exc.TimeoutError("nobody answers")

    subscribe(receiver.url, query="{ webhook { ... on JobEvent { job { url status } } } }")
    make_job("queued")
    with monkeypatch.context() as patched:
        patched.setattr("buildsrht.urls.job_page", away)
        [row] = courier()
    assert (row.status, row.payload, receiver.requests) == ("waiting", None, [])
    assert row.error == "the database or the queue does not answer; try again in a moment"

    make_due()
    [row] = courier()
    assert (row.status, len(receiver.requests)) == ("delivered", 1)
    assert told(receiver.requests[0])["job"]["status"] == "QUEUED"


# --- the end of a webhook -------------------------------------------------------------------------


def test_one_that_is_deleted_while_its_query_is_asked_tells_nothing(
    subscribe, receiver, make_job, backend, deliveries, monkeypatch
):
    subscribe(receiver.url)
    make_job("queued")
    ask = delivery.tell_webhook

    def ask_slowly(*args):
        with backend.transaction() as session:
            session.execute(delete(Webhook))
        return ask(*args)

    monkeypatch.setattr(delivery, "tell_webhook", ask_slowly)
    delivery.perform(backend)
    assert (deliveries(), receiver.requests) == ([], [])


def test_a_program_that_lost_all_grants_in_the_meantime_is_told_nothing(
    subscribe, receiver, make_job, courier, backend, owner, stranger
):
    client = OAuthClient(owner_id=stranger.id, name="Board", redirect_uris=["https://a.example/"])
    with backend.transaction() as session:
        session.add(client)
        session.flush()
        session.add(OAuthGrant(user_id=owner.id, client_id=client.id, scopes=["JOBS:RO"]))
    subscribe(receiver.url, client_id=client.id)
    make_job("queued")
    with backend.transaction() as session:
        session.execute(update(OAuthGrant).values(revoked=func.now()))

    [row] = courier()
    assert (row.status, row.payload, receiver.requests) == ("abandoned", None, [])
    assert row.error == "the program that made this webhook may see none of it any more"


def test_addresses_are_guarded_as_for_triggers(subscribe, receiver, make_job, backend, deliveries):
    subscribe(receiver.url)
    make_job("queued")
    courier = replace(backend.config.courier, allow=())
    delivery.perform(replace(backend, config=replace(backend.config, courier=courier)))
    [row] = deliveries()
    assert (row.status, receiver.requests) == ("abandoned", [])
