"""Who may see and do what: every route, every visibility, every kind of caller."""

import pytest

from buildsrht.models import Visibility

PUBLIC, UNLISTED, PRIVATE = Visibility

READ_WITH_TOKEN = ["/api/jobs/1", "/api/jobs/1/artifacts"]
READ_WITHOUT = [
    "/api/jobs/1/manifest",
    "/query/log/1/log",
    "/query/log/1/build/log",
    "/artifacts/1/{secret}/out.txt",
]
ACT = ["/api/jobs/1/start", "/api/jobs/1/cancel"]


@pytest.fixture
def caller(request, client_of):
    """A client of the user whose fixture has this name, or of nobody."""

    def find(who):
        return client_of(request.getfixturevalue(who) if who != "anonymous" else None)

    return find


@pytest.fixture
def job_with_all(make_job, write_log, keep_artifact):
    """A job that has something behind each of its routes; returns its artifact's secret."""

    def make(status, visibility):
        job = make_job(status, visibility=visibility)
        write_log(job, None, b"setting up\n")
        write_log(job, "build", b"building\n")
        return keep_artifact(job).secret

    return make


# --- a job ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", READ_WITH_TOKEN)
@pytest.mark.parametrize(
    ("who", "public", "unlisted", "private"),
    [
        ("owner", 200, 200, 200),
        ("admin", 200, 200, 200),
        ("stranger", 200, 200, 404),
        ("anonymous", 401, 401, 401),
    ],
)
def test_the_api_shows_a_job_to_whoever_has_a_token_and_its_link_unless_it_is_private(
    caller, make_job, path, who, public, unlisted, private
):
    expected = {PUBLIC: public, UNLISTED: unlisted, PRIVATE: private}
    client = caller(who)

    for job_id, visibility in enumerate(Visibility, start=1):
        make_job(visibility=visibility)
        response = client.get(path.replace("/1", f"/{job_id}"))
        assert response.status_code == expected[visibility]


@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize("who", ["owner", "admin", "stranger", "anonymous"])
def test_files_need_no_token_unless_they_are_of_a_private_job(
    caller, job_with_all, visibility, who
):
    secret = job_with_all("running", visibility)
    may_see = visibility != PRIVATE or who in ("owner", "admin")
    client = caller(who)

    for path in READ_WITHOUT:
        response = client.get(path.format(secret=secret))
        assert response.status_code == (200 if may_see else 404)


@pytest.mark.parametrize("path", ACT)
@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize(
    ("who", "visible", "hidden"),
    [("owner", 200, 200), ("admin", 200, 200), ("stranger", 403, 404), ("anonymous", 401, 401)],
)
def test_only_its_owner_and_administrators_act_on_a_job(
    caller, make_job, fetch, path, visibility, who, visible, hidden
):
    make_job("pending", visibility=visibility)

    response = caller(who).post(path)

    assert response.status_code == (hidden if visibility == PRIVATE else visible)
    assert (fetch(1).status == "pending") == (response.status_code != 200)


@pytest.mark.parametrize(
    ("path", "absent"),
    [(path, path.replace("/1", "/2")) for path in [*READ_WITH_TOKEN, *READ_WITHOUT]],
)
def test_a_hidden_job_is_answered_as_if_there_were_none(
    client_of, stranger, job_with_all, path, absent
):
    secret = job_with_all("running", PRIVATE)
    client = client_of(stranger)

    hidden = client.get(path.format(secret=secret))

    assert hidden.text.replace("job 1", "job 2") == client.get(absent.format(secret=secret)).text


@pytest.mark.parametrize("verb", ["start", "cancel"])
def test_acting_on_a_hidden_job_is_answered_as_if_there_were_none(
    client_of, stranger, make_job, verb
):
    make_job("pending", visibility=PRIVATE)
    client = client_of(stranger)

    hidden = client.post(f"/api/jobs/1/{verb}").text

    assert hidden.replace("job 1", "job 2") == client.post(f"/api/jobs/2/{verb}").text


@pytest.mark.parametrize("path", [path for path in READ_WITHOUT if "{" not in path])
def test_a_stranger_does_not_learn_from_head_what_get_hides(client, job_with_all, path):
    job_with_all("running", PRIVATE)

    assert client.head(path).status_code == 404


def test_the_list_holds_ones_own_jobs_only_for_an_administrator_too(
    client_of, owner, stranger, admin, make_job
):
    make_job(visibility=PUBLIC)
    make_job(user=stranger, visibility=PUBLIC)
    make_job(user=admin, visibility=PRIVATE)

    def listed(user):
        return [job["id"] for job in client_of(user).get("/api/jobs").json["results"]]

    assert [listed(user) for user in (owner, stranger, admin)] == [[1], [2], [3]]


def test_the_list_needs_a_token(client):
    assert client.get("/api/jobs").status_code == 401


def test_submitting_needs_a_token(client, manifest, row_counts):
    before = row_counts()

    assert client.post("/api/jobs", json={"manifest": manifest}).status_code == 401
    assert row_counts() == before


# --- a group ----------------------------------------------------------------------------------


@pytest.fixture
def make_group(client_of, owner, make_job):
    """Group 1: one pending job of the owner's for each visibility that is named."""

    def make(*visibilities):
        members = [make_job("pending", visibility=visibility).id for visibility in visibilities]
        body = {"jobs": members, "execute": False}
        assert client_of(owner).post("/api/job-group", json=body).status_code == 200

    return make


@pytest.mark.parametrize(
    ("who", "seen"), [("owner", [1, 2, 3]), ("admin", [1, 2, 3]), ("stranger", [1])]
)
def test_a_group_shows_strangers_its_public_jobs_only(caller, make_group, who, seen):
    make_group(*Visibility)

    group = caller(who).get("/api/job-group/1").json

    assert [job["id"] for job in group["jobs"]] == seen


@pytest.mark.parametrize("visibility", [UNLISTED, PRIVATE])
def test_a_group_without_public_jobs_does_not_exist_for_strangers(
    client_of, stranger, make_group, visibility
):
    make_group(visibility)
    client = client_of(stranger)

    for response in (
        client.get("/api/job-group/1"),
        client.post("/api/job-group/1/start"),
        client.post("/api/job-group/1/cancel"),
    ):
        assert response.status_code == 404
        assert response.json == {"errors": [{"reason": "there is no job group 1"}]}


@pytest.mark.parametrize("verb", ["start", "cancel"])
@pytest.mark.parametrize(
    ("who", "status"), [("owner", 200), ("admin", 200), ("stranger", 403), ("anonymous", 401)]
)
def test_only_its_owner_and_administrators_act_on_a_group(
    caller, make_group, fetch, verb, who, status
):
    make_group(PUBLIC)

    assert caller(who).post(f"/api/job-group/1/{verb}").status_code == status
    assert (fetch(1).status == "pending") == (status != 200)


@pytest.mark.parametrize("method", ["get", "post"])
def test_groups_need_a_token(client, method):
    path = {"get": "/api/job-group/1", "post": "/api/job-group"}[method]

    assert client.open(path, method=method).status_code == 401


# --- scopes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/jobs", "jobs:read"),
        ("POST", "/api/jobs", "jobs:write"),
        ("GET", "/api/jobs/1", "jobs:read"),
        ("GET", "/api/jobs/1/artifacts", "jobs:read"),
        ("GET", "/api/jobs/1/manifest", "jobs:read"),
        ("POST", "/api/jobs/1/start", "jobs:write"),
        ("POST", "/api/jobs/1/cancel", "jobs:write"),
        ("POST", "/api/job-group", "jobs:write"),
        ("GET", "/api/job-group/1", "jobs:read"),
        ("POST", "/api/job-group/1/start", "jobs:write"),
        ("POST", "/api/job-group/1/cancel", "jobs:write"),
        ("GET", "/query/log/1/log", "jobs:read"),
        ("GET", "/artifacts/1/0123456789abcdef/out.txt", "jobs:read"),
    ],
)
def test_each_route_needs_its_scope_and_writing_implies_reading(
    client_of, owner, make_job, method, path, scope
):
    make_job("pending")

    def is_let_in(granted):
        return client_of(owner, granted).open(path, method=method).status_code not in (401, 403)

    assert is_let_in("jobs:write")
    assert is_let_in("jobs:read") == (scope == "jobs:read")
