"""How much one client may ask for in a time, and what whoever asks for more is told."""

import socket
import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest

from buildsrht import rates, serving
from buildsrht.app import create_app
from buildsrht.config import Rate
from buildsrht.rates import Rates
from tests.browser import Browser

GRAPHQL = {"query": "{ version { major } }"}


@pytest.fixture
def allow(app, limited):
    """Set limits of the service: `allow(requests=Rate(3, 60))`."""
    return lambda **limits: serving.install(app, limited(**limits))


@pytest.fixture
def three(allow):
    allow(requests=Rate(3, 60))


def statuses(client, path, times, **options):
    return [client.get(path, **options).status_code for _ in range(times)]


# --- requests -------------------------------------------------------------------------------------


def test_each_answer_says_what_is_left(three, client_of, owner):
    client = client_of(owner)
    answers = [client.get("/api/jobs") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"requests";q=3;w=60'}
    left = [answer.headers["RateLimit"].split(";")[:2] for answer in answers]
    assert left == [['"requests"', f"r={number}"] for number in (2, 1, 0, 0)]


def test_whoever_is_refused_is_told_why_and_until_when(three, client_of, owner):
    client = client_of(owner)
    statuses(client, "/api/jobs", 3)

    refused = client.get("/api/jobs")

    assert refused.json == {
        "errors": [
            {
                "reason": "more than 3 requests in 60 seconds, which is the most for one client",
            }
        ]
    }
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].endswith(f";t={refused.headers['Retry-After']}")


def test_graphql_says_it_as_graphql_does(three, client_of, owner):
    client = client_of(owner)
    answers = [client.post("/query", json=GRAPHQL) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    [error] = answers[-1].json["errors"]
    assert error["message"].startswith("more than 3 requests in 60 seconds")
    assert error["extensions"] == {"code": "LIMIT"}
    assert "Retry-After" in answers[-1].headers


def test_pages_say_it_as_a_page(three, client):
    statuses(client, "/login", 3)

    refused = client.get("/login", headers={"Accept": "text/html"})

    assert refused.status_code == 429
    assert refused.mimetype == "text/html"
    assert "more than 3 requests in 60 seconds" in refused.text
    assert "Retry-After" in refused.headers


def test_oauth_says_it_as_oauth_does(three, client):
    answers = [client.post("/oauth2/access-token") for _ in range(4)]

    assert answers[-1].status_code == 429
    assert answers[-1].json == {"error": "slow_down"}
    assert "Retry-After" in answers[-1].headers


def test_a_request_that_is_refused_does_nothing(three, submit, row_counts):
    for _ in range(3):
        assert submit().status_code == 200
    before = row_counts()

    assert submit().status_code == 429

    assert row_counts() == before


def test_there_is_more_when_the_time_is_over(allow, client):
    allow(requests=Rate(1, 1))
    client.get("/login")
    refused = client.get("/login")
    assert refused.status_code == 429
    deadline = time.monotonic() + 10
    while (status := client.get("/login").status_code) == 429 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status == 200


def test_a_user_is_one_client_by_whatever_token_sign_in_and_address(
    three, client_of, browse, owner
):
    here, there = client_of(owner), client_of(owner, "jobs:read")
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}

    assert here.get("/api/jobs").status_code == 200
    assert there.get("/api/jobs", environ_base=elsewhere).status_code == 200
    assert browse(owner).client.get("/api/jobs").status_code == 200
    assert browse(owner).client.get("/").status_code == 429
    assert here.get("/api/jobs").status_code == 429


def test_users_do_not_pay_for_others_who_have_the_same_address(
    three, client, client_of, owner, stranger
):
    assert statuses(client, "/login", 4)[-1] == 429
    assert statuses(client_of(owner), "/api/jobs", 4)[-1] == 429

    assert client_of(stranger).get("/api/jobs").status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer bsrht_guessed", "Basic dXNlcjpwYXNz", "Bearer", "token bsrht_{}"]
)
def test_who_guesses_tokens_is_counted_by_address(three, client, header):
    tried = [
        client.get("/api/jobs", headers={"Authorization": header.format(number)}).status_code
        for number in range(4)
    ]
    assert tried == [401, 401, 401, 429]


def test_what_is_not_there_is_counted_too(three, client):
    assert statuses(client, "/nowhere", 4) == [404, 404, 404, 429]


@pytest.mark.parametrize(
    ("proxies", "address", "expected"),
    [
        # Without a proxy anybody may say anything.
        (0, "192.0.2.{}", 429),
        (1, "192.0.2.{}", 200),
        (1, "192.0.2.{}, 192.0.2.9", 429),
        (2, "192.0.2.{}, 192.0.2.9", 200),
        # One customer's network, and several.
        (1, "2001:db8::{}", 429),
        (1, "2001:db8:{}::1", 200),
        (1, "::ffff:192.0.2.{}", 200),
    ],
)
def test_an_address_is_what_the_operators_proxies_say(backend, limited, proxies, address, expected):
    config = limited(requests=Rate(3, 60)).config
    config = replace(config, web=replace(config.web, proxies=proxies))
    client = create_app(replace(backend, config=config)).test_client()

    answers = [
        client.get("/login", headers={"X-Forwarded-For": address.format(number)}).status_code
        for number in range(1, 5)
    ]

    assert answers == [200, 200, 200, expected]


@pytest.mark.parametrize("path", ["/healthz", "/static/buildsrht.css", "/metrics"])
def test_what_is_free_is_free(three, client, path):
    answers = [client.get(path) for _ in range(5)]
    assert len({answer.status_code for answer in answers}) == 1
    assert answers[0].status_code in (200, 404)
    assert "RateLimit" not in answers[0].headers


def test_without_a_limit_nobody_counts(allow, client, backend):
    allow(requests=None)
    answers = [client.get("/login") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0].headers
    assert backend.redis.keys(f"{rates.PREFIX}:*") == []


def test_counting_makes_no_answer_one_that_may_not_be_kept(client, browse, owner, make_job):
    """A badge is the same for everybody, and caches may have it, whoever is signed in."""
    make_job("success")
    anonymous = client.get("/~owner.svg")
    signed_in = browse(owner).client.get("/~owner.svg")
    assert signed_in.headers.get("Cache-Control") == anonymous.headers.get("Cache-Control")
    assert signed_in.headers.get("Vary") == anonymous.headers.get("Vary")


# --- submissions ----------------------------------------------------------------------------------


def submit_over_rest(client, manifest):
    return client.post("/api/jobs", json={"manifest": manifest})


def submit_over_graphql(client, manifest):
    query = "mutation($m: String!) { submit(manifest: $m) { id } }"
    return client.post("/query", json={"query": query, "variables": {"m": manifest}})


def resubmit_over_graphql(client, manifest):
    return client.post("/query", json={"query": "mutation { resubmit(jobId: 1) { id } }"})


@pytest.mark.parametrize("another", [submit_over_rest, submit_over_graphql, resubmit_over_graphql])
def test_a_user_may_submit_so_many_jobs_by_whatever_way(
    allow, client_of, owner, stranger, manifest, another, row_counts
):
    allow(submissions=Rate(2, 60))
    client = client_of(owner)
    assert submit_over_rest(client, manifest).status_code == 200
    assert submit_over_graphql(client, manifest).json["data"]["submit"]["id"] == 2
    before = row_counts()

    refused = another(client, manifest)

    assert "more than 2 jobs submitted in 60 seconds" in refused.text
    if another is submit_over_rest:
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
    else:
        assert refused.json["errors"][0]["extensions"]["code"] == "LIMIT"
    assert row_counts() == before
    assert submit_over_rest(client_of(stranger), manifest).status_code == 200


def test_pages_are_counted_with_the_rest(allow, browse, owner, client_of, manifest, row_counts):
    allow(submissions=Rate(1, 60))
    assert submit_over_rest(client_of(owner), manifest).status_code == 200
    browser: Browser = browse(owner)
    before = row_counts()
    browser.open("/submit")

    browser.send("/submit", manifest=manifest)

    assert browser.page.status_code == 429
    assert "more than 1 jobs submitted" in browser.page.text
    browser.open("/jobs/1")
    assert row_counts() == before


def test_what_is_wrong_with_a_submission_is_not_counted(allow, client_of, owner, manifest):
    allow(submissions=Rate(1, 60))
    client = client_of(owner)
    for _ in range(3):
        assert submit_over_rest(client, "image: [").status_code == 400
    assert submit_over_rest(client, manifest).status_code == 200


# --- without Redis --------------------------------------------------------------------------------


@pytest.fixture
def silent():
    """A server that takes connections and never says a word; yields its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        taken = []

        def take():
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # close() alone does not wake a thread that is in accept().
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in taken:
            connection.close()


def test_while_redis_is_away_everybody_is_let_in(app, limited, client):
    away = replace(limited(requests=Rate(1, 60)), rates=Rates("redis://127.0.0.1:1/0"))
    serving.install(app, away)
    answers = [client.get("/login") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "RateLimit" not in answers[0].headers


def test_a_redis_that_hangs_holds_up_one_request_for_a_moment(silent, caplog):
    counters = Rates(f"redis://127.0.0.1:{silent}/0")
    begun = time.monotonic()

    counts = [counters.count("requests", Rate(1, 60), "somebody") for _ in range(50)]

    # Fifty times that would be more than twenty seconds.
    assert time.monotonic() - begun < 10 * rates.SECONDS
    assert counts == [None] * 50
    assert len(caplog.records) == 1


def test_a_redis_that_is_back_counts_again(backend, monkeypatch):
    monkeypatch.setattr(rates, "PAUSE_SECONDS", 0)
    counters = Rates(backend.config.redis.url)
    assert counters.count("requests", Rate(2, 60), "somebody").left == 1
    backend.redis.script_flush()
    backend.redis.flushdb()
    assert counters.count("requests", Rate(2, 60), "somebody").left == 1
    counters.close()


def test_many_at_once_are_not_more_than_many_one_after_the_other(backend):
    counters = Rates(backend.config.redis.url)
    let_in = []

    def ask():
        for _ in range(20):
            let_in.append(not counters.count("requests", Rate(50, 60), "somebody").is_exceeded)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(let_in) == 50
    counters.close()


def test_a_client_costs_two_keys_that_go_by_themselves(backend):
    counters = Rates(backend.config.redis.url)
    for _ in range(100):
        counters.count("requests", Rate(3000, 60), "somebody")
    keys = backend.redis.keys(f"{rates.PREFIX}:*")
    assert len(keys) <= 2
    assert all(0 < backend.redis.ttl(key) <= 120 for key in keys)
    counters.close()
