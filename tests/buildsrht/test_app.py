"""The application as a whole: health, outages, and errors in one shape under any path."""

from dataclasses import replace

import pytest
from sqlalchemy import create_engine

from buildsrht.app import create_app
from buildsrht.backend import open_redis
from buildsrht.logs import Logs
from buildsrht.queue import Slots, job_queue
from buildsrht.services import jobs, runners


@pytest.fixture
def without_database(backend, tmp_path):
    """A client of an application whose database does not answer."""
    away = create_engine(f"postgresql+psycopg2://ann@/buildsrht?host={tmp_path}")
    return create_app(replace(backend, engine=away)).test_client()


@pytest.fixture
def without_redis(backend, tmp_path):
    """A client of an application whose Redis does not answer."""
    away = open_redis(f"unix://{tmp_path}/nobody.sock")
    queue, logs = job_queue(away, 60), Logs(away, backend.storage, backend.engine)
    return create_app(replace(backend, redis=away, queue=queue, logs=logs)).test_client()


def assert_unavailable(response):
    assert response.status_code == 503
    reason = "the database or the queue does not answer; try again in a moment"
    assert response.json == {"errors": [{"reason": reason}]}
    assert response.headers["Retry-After"] == "5"


# --- health -----------------------------------------------------------------------------------


def test_it_is_healthy_when_both_servers_answer(client):
    response = client.get("/healthz")

    assert (response.status_code, response.json) == (200, {"status": "ok"})


@pytest.mark.parametrize("outage", ["without_database", "without_redis"])
def test_it_is_not_healthy_when_one_does_not(request, outage):
    assert_unavailable(request.getfixturevalue(outage).get("/healthz"))


def test_how_it_is_is_told_to_anybody_with_the_reasons(client):
    response = client.get("/health")

    assert response.status_code == 503
    assert response.json["status"] == "failing"
    assert {"code": "NO_HOST", "text": "No build host is there that takes jobs."} in (
        response.json["reasons"]
    )


def test_a_service_that_is_degraded_still_serves(client, backend, monkeypatch):
    runners.report(backend, "host-1", {})
    monkeypatch.setattr(type(backend.queue), "slots", lambda _: Slots(2, 0, 0))
    response = client.get("/health")

    assert response.status_code == 200
    assert response.json == {
        "status": "degraded",
        "reasons": [{"code": "NO_JANITOR", "text": "No janitor is there to see to what was lost."}],
    }


@pytest.mark.parametrize("outage", ["without_database", "without_redis"])
def test_how_it_is_is_told_also_in_an_outage(request, outage):
    response = request.getfixturevalue(outage).get("/health")

    assert response.status_code == 503
    code = {"without_database": "DATABASE_AWAY", "without_redis": "QUEUE_AWAY"}[outage]
    assert code in [reason["code"] for reason in response.json["reasons"]]


# --- outages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/1/manifest", "/query/log/1/log"])
def test_without_the_database_an_answer_is_a_503(without_database, path, caplog):
    response = without_database.get(path, headers={"Authorization": "Bearer secret-of-mine"})

    assert_unavailable(response)
    assert f"GET {path}" in caplog.text
    assert "secret-of-mine" not in caplog.text


def test_an_outage_tells_nobody_what_lets_in_whoever_knows_it(without_database, caplog):
    without_database.get("/reset/swordfish")
    without_database.get("/artifacts/1/swordfish/name")
    assert "swordfish" not in caplog.text
    assert "GET /artifacts/1/..." in caplog.text


def test_without_redis_jobs_can_be_looked_at_started_and_cancelled(
    without_redis, token, owner, make_job, fetch
):
    make_job("pending")
    headers = {"Authorization": f"Bearer {token(owner)}"}

    assert without_redis.get("/api/jobs/1", headers=headers).status_code == 200
    assert without_redis.post("/api/jobs/1/start", headers=headers).json == {}
    assert fetch(1).status == "queued"
    assert without_redis.post("/api/jobs/1/cancel", headers=headers).json == {}
    assert fetch(1).status == "cancelled"


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/nothing", "/%00", "/ä"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_404_in_json(client, method, path):
    response = client.open(path, method=method)

    assert response.status_code == 404
    assert response.content_type == "application/json"
    assert response.text.startswith('{"errors":[{"reason":"')
    assert response.text.endswith("}\n")


def test_our_own_mistakes_are_logged_and_not_shown(client_of, owner, monkeypatch, caplog):
    def breaks(*_):
        raise ZeroDivisionError("the password is 12345")

    monkeypatch.setattr(jobs, "list_own_jobs", breaks)

    response = client_of(owner).get("/api/jobs")

    assert response.status_code == 500
    assert response.json["errors"][0]["reason"]
    assert "12345" not in response.text
    assert "ZeroDivisionError: the password is 12345" in caplog.text


def test_a_path_with_doubled_slashes_leads_to_the_right_one(client):
    response = client.get("/api//jobs")

    assert response.status_code == 308
    assert response.headers["Location"].endswith("/api/jobs")


BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_people_who_went_where_nothing_is_see_a_page(browse, owner):
    page = browse(owner).open("/there/is/nothing", headers={"Accept": BROWSERS})

    assert page.status_code == 404
    assert "there is no such page" in page.text
    assert "~owner" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain, */*"])
def test_programs_that_ask_there_get_an_error_as_anywhere(client, accept):
    response = client.get("/there/is/nothing", headers={"Accept": accept})

    assert response.status_code == 404
    assert response.json["errors"][0]["reason"]


def test_programs_and_people_get_the_same_from_an_address_that_is_the_apis(client):
    response = client.get("/artifacts/1/0/x", headers={"Accept": BROWSERS})

    assert (response.status_code, response.json["errors"][0].keys()) == (404, {"reason"})
