"""`/api/jobs`: list, look, start and cancel."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from buildsrht.models import JobStatus
from buildsrht.services import jobs
from tests.build_host import claim

FINAL = ["success", "failed", "timeout", "cancelled"]


# --- look -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_job_tells_its_status(client_of, owner, make_job, status):
    make_job(status)

    assert client_of(owner).get("/api/jobs/1").json["status"] == status


def test_a_job_tells_where_it_ran(client_of, owner, make_job):
    make_job("running")

    assert client_of(owner).get("/api/jobs/1").json["runner"] == "host-1"


def test_a_job_looks_alike_alone_in_the_list_and_when_submitted(client_of, owner, submit):
    submitted = submit(note="hello", tags=["a"]).json
    client = client_of(owner)

    assert client.get("/api/jobs/1").json == submitted
    assert client.get("/api/jobs").json["results"] == [submitted]


@pytest.mark.parametrize(
    "path",
    [
        "/api/jobs/7",
        "/api/jobs/7/artifacts",
        "/api/jobs/7/manifest",
        "/api/jobs/0",
        "/api/jobs/-1",
        "/api/jobs/x",
        "/api/jobs/1.0",
        f"/api/jobs/{2**31}",
        f"/api/jobs/{2**64}",
        "/api/jobs/1/",
        "/api/jobs/1/nothing",
        "/api/job-group/7",
        f"/api/job-group/{2**31}",
        "/query/log/7/log",
        "/query/log/1/nothing/log",
        "/query/log/1/build/log/",
        "/query/log/1/a%00b/log",
        "/artifacts/1/0123456789abcdef/out.txt",
        "/artifacts/1/0123456789abcdef/a%00b",
        f"/artifacts/{2**64}/0123456789abcdef/out.txt",
    ],
)
def test_what_does_not_exist_is_a_404_in_json(client_of, owner, make_job, path):
    make_job()

    response = client_of(owner).get(path)

    assert response.status_code == 404
    assert response.json["errors"][0]["reason"]


@pytest.mark.parametrize("verb", ["start", "cancel"])
@pytest.mark.parametrize("kind", ["jobs", "job-group"])
def test_acting_on_what_does_not_exist_is_a_404_in_json(client_of, owner, kind, verb):
    response = client_of(owner).post(f"/api/{kind}/7/{verb}")

    assert response.status_code == 404
    assert response.json["errors"][0]["reason"].endswith(" 7")


# --- list -------------------------------------------------------------------------------------


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(jobs, "PAGE", 2)


def ids(page):
    return [job["id"] for job in page["results"]]


def test_an_empty_list_is_one_empty_page(client_of, owner):
    assert client_of(owner).get("/api/jobs").json == {
        "next": None,
        "results": [],
        "results_per_page": 50,
        "total": 0,
    }


@pytest.mark.usefixtures("small_pages")
def test_pages_come_newest_first_and_next_leads_through_all(client_of, owner, make_job):
    for _ in range(5):
        make_job()
    client = client_of(owner)

    pages = [client.get("/api/jobs").json]
    while pages[-1]["next"]:
        pages.append(client.get(f"/api/jobs?start={pages[-1]['next']}").json)

    assert [ids(page) for page in pages] == [[5, 4], [3, 2], [1]]
    assert {page["total"] for page in pages} == {5}


@pytest.mark.usefixtures("small_pages")
def test_the_last_full_page_has_no_next(client_of, owner, make_job):
    make_job()
    make_job()

    assert client_of(owner).get("/api/jobs").json["next"] is None


@pytest.mark.usefixtures("small_pages")
def test_jobs_that_arrive_meanwhile_do_not_shift_the_next_page(client_of, owner, make_job):
    for _ in range(4):
        make_job()
    client = client_of(owner)
    first = client.get("/api/jobs").json

    make_job()

    assert ids(first) == [4, 3]
    assert ids(client.get(f"/api/jobs?start={first['next']}").json) == [2, 1]


def test_a_start_beyond_every_job_lists_them_all(client_of, owner, make_job):
    make_job()

    assert ids(client_of(owner).get(f"/api/jobs?start={10**18 - 1}").json) == [1]


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/1/artifacts"])
@pytest.mark.parametrize("start", ["", "x", "-1", "1.5", "1e3", "0x1", "1" * 30, "%00", "%D9%A1"])
def test_a_bad_start_is_refused_by_name(client_of, owner, make_job, path, start):
    make_job()

    response = client_of(owner).get(f"{path}?start={start}")

    assert response.status_code == 400
    assert response.json["errors"][0]["field"] == "start"


# --- artifacts --------------------------------------------------------------------------------


def test_artifacts_are_listed_in_order_with_all_that_a_client_needs(
    client_of, owner, make_job, keep_artifact
):
    job = make_job("success")
    first = keep_artifact(job, "/home/build/out 1.txt", b"made")
    keep_artifact(job, "hello/hello.tar.gz")

    page = client_of(owner).get("/api/jobs/1/artifacts").json

    assert [artifact["name"] for artifact in page["results"]] == ["out 1.txt", "hello.tar.gz"]
    assert (page["next"], page["total"], page["results_per_page"]) == (None, 2, 50)
    assert page["results"][0] == {
        "id": 1,
        "created": page["results"][0]["created"],
        "path": "/home/build/out 1.txt",
        "name": "out 1.txt",
        "url": f"http://127.0.0.1:5002/artifacts/1/{first.secret}/out%201.txt",
        "size": 4,
        "sha256": hashlib.sha256(b"made").hexdigest(),
        "expires": page["results"][0]["expires"],
        "deleted": None,
    }


def test_artifacts_are_kept_for_as_long_as_the_operator_decided(
    client_of, owner, make_job, keep_artifact
):
    keep_artifact(make_job("success"))

    [artifact] = client_of(owner).get("/api/jobs/1/artifacts").json["results"]

    assert artifact["expires"] > artifact["created"]
    assert artifact["expires"].endswith("+00:00")


def test_a_job_without_artifacts_has_one_empty_page(client_of, owner, make_job):
    make_job()

    assert client_of(owner).get("/api/jobs/1/artifacts").json == {
        "next": None,
        "results": [],
        "results_per_page": 50,
        "total": 0,
    }


# --- start ------------------------------------------------------------------------------------


def test_start_queues_a_job_that_was_held_back(client_of, owner, make_job, backend, fetch):
    make_job("pending")

    response = client_of(owner).post("/api/jobs/1/start")

    assert (response.status_code, response.json) == (200, {})
    assert fetch(1).status == JobStatus.QUEUED
    assert backend.queue.enqueued_ids() == {1}


def test_start_cannot_give_a_job_the_secrets_it_was_submitted_without(
    client_of, owner, make_job, fetch
):
    make_job("pending", secrets=False)

    client_of(owner).post("/api/jobs/1/start", json={"secrets": True})

    assert fetch(1).secrets is False


@pytest.mark.parametrize("status", ["queued", "running", *FINAL])
def test_start_is_refused_with_the_state_of_a_job_that_is_not_pending(
    client_of, owner, make_job, fetch, status
):
    make_job(status)

    response = client_of(owner).post("/api/jobs/1/start")

    assert response.status_code == 400
    assert response.json == {"errors": [{"reason": f"job 1 is already {status}"}]}
    assert fetch(1).status == status


def test_of_racing_starts_exactly_one_succeeds(client_of, owner, make_job, backend):
    make_job("pending")
    client = client_of(owner)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.post("/api/jobs/1/start"), range(16)))

    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 15
    assert len(backend.redis.keys("rq:job:*")) == 1


# --- cancel -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "queued"])
def test_cancel_ends_a_waiting_job_at_once(client_of, owner, make_job, backend, fetch, status):
    make_job(status)

    response = client_of(owner).post("/api/jobs/1/cancel")

    assert (response.status_code, response.json) == (200, {})
    assert fetch(1).status == JobStatus.CANCELLED
    assert backend.queue.enqueued_ids() == set()


def test_cancel_of_a_running_job_is_a_request_that_may_be_repeated(
    client_of, owner, make_job, fetch
):
    make_job("running")
    client = client_of(owner)

    assert client.post("/api/jobs/1/cancel").json == {}
    asked = fetch(1).cancel_requested
    assert client.post("/api/jobs/1/cancel").json == {}

    assert fetch(1).status == JobStatus.RUNNING
    assert fetch(1).cancel_requested == asked


@pytest.mark.parametrize("status", FINAL)
def test_cancel_of_a_job_that_is_over_is_refused_with_its_state(
    client_of, owner, make_job, fetch, status
):
    make_job(status)

    response = client_of(owner).post("/api/jobs/1/cancel")

    assert response.status_code == 400
    assert response.json == {"errors": [{"reason": f"job 1 is already over: {status}"}]}
    assert fetch(1).status == status


def test_a_cancelled_job_is_not_there_to_be_claimed(client_of, owner, make_job, backend):
    make_job("queued")
    client_of(owner).post("/api/jobs/1/cancel")

    assert claim(backend, 1, "host-1") is None


# --- every answer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PUT", "/api/jobs/1", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/api/jobs/1/start", {"POST", "OPTIONS"}),
        ("POST", "/query/log/1/log", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(client, method, path, allowed):
    response = client.open(path, method=method)

    assert response.status_code == 405
    assert {word.strip() for word in response.headers["Allow"].split(",")} == allowed
    assert json.loads(response.data)["errors"]
