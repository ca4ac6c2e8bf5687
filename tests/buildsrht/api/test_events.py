"""`/api/jobs/<id>/events`: a job as a stream of server-sent events."""

import gc
import json
from dataclasses import dataclass

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from buildsrht.api import events
from buildsrht.models import Visibility
from buildsrht.services import stream
from tests.build_host import BuildHost

EVENTS = "/api/jobs/1/events"


@dataclass(frozen=True)
class Event:
    name: str
    cursor: str
    data: dict


def read(text):
    """The events of a stream, as a browser understands them, and what is not for scripts."""
    found, asides = [], []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.partition(":")[::2] for line in block.split("\n"))
        if "event" in fields:
            data = json.loads(fields["data"])
            found.append(Event(fields["event"].strip(), fields["id"].strip(), data))
        else:
            asides.append(block)
    return found, asides


def names(response):
    return [event.name for event in read(response.text)[0]]


@pytest.fixture
def briefly(monkeypatch):
    """A stream ends as soon as there is nothing new."""
    monkeypatch.setattr(events, "LONGEST_SECONDS", 0)


@pytest.fixture
def finished(make_job, backend):
    make_job("queued", visibility=Visibility.PRIVATE)
    host = BuildHost(backend, 1)
    host.write(None, "Starting.\n")
    host.start("build")
    host.write("build", "€ <b>\r\n\nid: 7\n")
    host.end("build")
    host.keep("/home/build/out.txt", b"made")
    host.finish()


# --- what is sent ---------------------------------------------------------------------------------


def test_a_job_that_is_over_is_played_to_its_end(finished, client_of, owner):
    response = client_of(owner).get(EVENTS)

    assert response.status_code == 200
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    told, asides = read(response.text)
    assert asides == ["retry: 1000"]
    date = told[0].data["date"]
    assert date.endswith("+00:00")
    assert [(event.name, {**event.data, "date": None}) for event in told] == [
        (name, {**data, "date": None})
        for name, data in [
            ("status", {"status": "queued", "cause": None}),
            ("status", {"status": "running", "cause": "Taken by the build host host-1."}),
            ("log", {"task": None, "offset": 0, "size": 10, "text": "Starting.\n"}),
            ("task", {"task": "build", "status": "running"}),
            ("log", {"task": "build", "offset": 0, "size": 16, "text": "€ <b>\r\n\nid: 7\n"}),
            ("task", {"task": "build", "status": "success"}),
            (
                "artifact",
                {
                    "name": "out.txt",
                    "path": "/home/build/out.txt",
                    "size": 4,
                    "url": told[6].data.get("url"),
                },
            ),
            ("status", {"status": "success", "cause": None}),
            ("end", {"status": "success"}),
        ]
    ]
    assert client_of(owner).get(told[6].data["url"]).data == b"made"


def test_without_text_logs_are_only_said_to_grow(finished, client_of, owner):
    told, _ = read(client_of(owner).get(EVENTS, query_string={"text": "no"}).text)

    assert [event.data for event in told if event.name == "log"] == [
        {"task": None, "offset": 0, "size": 10},
        {"task": "build", "offset": 0, "size": 16},
    ]


@pytest.mark.parametrize("way", ["header", "query", "both"])
def test_a_client_that_comes_back_is_told_what_it_has_missed(finished, client_of, owner, way):
    client = client_of(owner)
    told, _ = read(client.get(EVENTS).text)
    headers = {} if way == "query" else {"Last-Event-ID": told[4].cursor}
    query = {"header": {}, "query": {"last_event_id": told[4].cursor}}.get(
        way, {"last_event_id": told[0].cursor}
    )

    missed, _ = read(client.get(EVENTS, headers=headers, query_string=query).text)

    assert missed == told[5:]


def test_a_browser_that_comes_back_after_the_end_is_told_to_stay_away(finished, client_of, owner):
    client = client_of(owner)
    told, _ = read(client.get(EVENTS).text)

    response = client.get(EVENTS, headers={"Last-Event-ID": told[-1].cursor})

    assert (response.status_code, response.data) == (204, b"")


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ({"last_event_id": "7"}, {}, "last_event_id"),
        ({"last_event_id": ""}, {}, "last_event_id"),
        ({}, {"Last-Event-ID": "0-0-0-0-0-9"}, "last_event_id"),
        ({"last_event_id": "0-0-0-3-0-0"}, {}, "last_event_id"),
        ({"text": "some"}, {}, "text"),
    ],
)
def test_what_makes_no_sense_is_refused(finished, client_of, owner, query, headers, field):
    response = client_of(owner).get(EVENTS, query_string=query, headers=headers)

    assert response.status_code == 400
    assert [error["field"] for error in response.json["errors"]] == [field]


def test_while_nothing_happens_a_word_now_and_then_keeps_the_connection(
    make_job, client, monkeypatch
):
    make_job("queued")
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0)

    parts = iter(client.get(EVENTS).response)

    assert [next(parts) for _ in range(4)][2:] == [b":\n\n", b":\n\n"]


def test_what_happens_is_sent_when_it_happens(make_job, backend, client):
    make_job("queued")
    parts = iter(client.get(EVENTS).response)
    [_, queued] = [next(parts), next(parts)]
    assert b"queued" in queued

    host = BuildHost(backend, 1)
    assert b"running" in next(parts)
    host.write(None, "Starting.\n")
    assert b"Starting." in next(parts)


# --- who is told ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("briefly")
def test_whoever_sees_a_job_may_watch_it(finished, make_job, client, browse, owner, stranger):
    make_job("queued", visibility=Visibility.UNLISTED)

    assert names(client.get("/api/jobs/2/events")) == ["status"]
    assert browse(owner).open(EVENTS).status_code == 200
    assert browse(stranger).open(EVENTS).status_code == 404
    assert client.get(EVENTS).status_code == 404


def test_a_token_that_is_for_no_logs_is_told_of_none(finished, client_of, owner):
    assert "log" in names(client_of(owner, "jobs:read").get(EVENTS))
    assert names(client_of(owner, "JOBS:RO").get(EVENTS)) == [
        *("status", "status", "task", "task", "artifact", "status", "end")
    ]


# --- its end --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("briefly")
def test_a_stream_that_has_lasted_for_long_ends_and_the_client_comes_again(make_job, client):
    make_job("queued")

    told, asides = read(client.get(EVENTS).text)

    assert [event.name for event in told] == ["status"]
    assert asides == ["retry: 1000"]


def test_a_stream_ends_cleanly_when_redis_goes_away(make_job, backend, client, monkeypatch, caplog):
    make_job("running")
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0)
    parts = iter(client.get(EVENTS).response)
    [next(parts) for _ in range(3)]

    def away(*_):
        raise RedisConnectionError("connection refused")

    monkeypatch.setattr(type(backend.logs), "live_view", away)

    assert list(parts) == []
    assert "its events: ConnectionError: connection refused" in caplog.text


def test_streams_end_and_none_begins_when_the_server_is_to_stop(make_job, app, client, streams):
    make_job("queued")
    parts = iter(client.get(EVENTS).response)
    [next(parts) for _ in range(2)]

    events.end_all(app)

    assert list(parts) == []
    assert client.get(EVENTS).status_code == 503


@pytest.fixture
def streams(app, monkeypatch):
    """Room for eight streams, two of one client."""
    place = events.Streams(8)
    monkeypatch.setitem(app.extensions, events.EXTENSION, place)
    return place


def test_when_all_streams_are_taken_a_client_is_told_when_to_come_again(
    make_job, client, owner, client_of, streams
):
    make_job("queued")
    taken = [
        client.get(EVENTS, environ_base={"REMOTE_ADDR": f"192.0.2.{number // 2}"})
        for number in range(8)
    ]
    assert {response.status_code for response in taken} == {200}

    refused = client.get(EVENTS)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    reason = "all streams of events are taken; try again in a moment"
    assert refused.json == {"errors": [{"reason": reason}]}
    assert client_of(owner).get("/api/jobs/1").status_code == 200

    taken[0].close()
    assert client.get(EVENTS).status_code == 200


def test_one_client_leaves_most_streams_to_others(
    make_job, client, client_of, owner, stranger, streams
):
    make_job("queued")
    clients = [client, client, client_of(owner), client_of(owner, "jobs:read", "logs:read")]
    taken = [each.get(EVENTS) for each in clients]
    assert {response.status_code for response in taken} == {200}

    for each in clients:
        refused = each.get(EVENTS)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
        assert "as many streams of events as one may" in refused.text
    assert client_of(stranger).get(EVENTS).status_code == 200

    taken[0].close()
    assert client.get(EVENTS).status_code == 200


def test_a_stream_that_everybody_has_dropped_is_not_taken_any_more(make_job, client, streams):
    make_job("queued")
    for _ in range(5):
        response = client.get(EVENTS)
        assert response.status_code == 200
        next(iter(response.response))
        del response
        gc.collect()


@pytest.mark.usefixtures("streams")
def test_only_what_is_a_stream_takes_the_place_of_one(finished, client_of, owner):
    client = client_of(owner)

    for _ in range(3):
        assert client.head(EVENTS, buffered=True).status_code == 200
        assert client.get("/api/jobs/7/events").status_code == 404
        assert client.get(f"{EVENTS}?last_event_id=x").status_code == 400
        assert client.get(EVENTS, buffered=True).status_code == 200
