"""The words for what a token may do, and what a manifest may ask for."""

import pytest

from buildsrht import manifest as manifests
from buildsrht.errors import BadInput, Forbidden
from buildsrht.services import jobs, scopes
from buildsrht.services.scopes import EVERYTHING, granted, read_grants

MANIFEST = "image: debian/trixie\noauth: {}\ntasks: [{{build: make}}]\n"


def asked_for(text):
    return read_grants(manifests.parse(MANIFEST.format(text)).grants)


def test_a_manifest_may_ask_for_grants_of_this_service_by_either_name():
    assert asked_for("builds.sr.ht/JOBS:RW buildsrht/LOGS:RO builds.sr.ht/PROFILE") == {
        *("JOBS:RW", "LOGS:RO", "PROFILE:RO"),
    }


@pytest.mark.parametrize(
    "grant", ["git.sr.ht/REPOSITORIES:RO", "builds.sr.ht/REPOSITORIES:RW", "meta.sr.ht/PROFILE:RO"]
)
def test_a_grant_that_is_not_of_this_service_is_refused_by_name(grant):
    with pytest.raises(BadInput) as refused:
        asked_for(f"builds.sr.ht/JOBS:RO {grant}")
    [error] = refused.value.errors
    assert error.field == "manifest"
    assert error.reason == (
        f"oauth: {grant.rpartition(':')[0]} is none of builds.sr.ht/JOBS, builds.sr.ht/LOGS, "
        "builds.sr.ht/PROFILE, builds.sr.ht/SECRETS, each :RO or :RW"
    )


def test_a_submit_with_a_foreign_grant_is_refused_and_nothing_is_stored(submit, row_counts):
    before = row_counts()

    response = submit(manifest=MANIFEST.format("git.sr.ht/REPOSITORIES:RO"))

    assert response.status_code == 400
    [error] = response.json["errors"]
    assert error["field"] == "manifest"
    assert "git.sr.ht/REPOSITORIES" in error["reason"]
    # But for the token that the request was made with.
    assert row_counts() == before | {"token": row_counts()["token"]}


# --- no token hands on what it has not got --------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "asked", "status"),
    [
        ("jobs:write", "JOBS:RW LOGS:RO", 200),
        ("jobs:write", "LOGS:RW", 403),
        ("jobs:write", "PROFILE:RO", 403),
        ("JOBS:RW SECRETS:RO", "JOBS:RO", 200),
        ("JOBS:RW SECRETS:RO", "LOGS:RO", 403),
        ("JOBS:RW SECRETS:RO", "SECRETS:RW", 403),
        ("JOBS:RW SECRETS:RW", "SECRETS:RW JOBS:RW", 200),
    ],
)
def test_a_job_gets_no_more_than_the_token_that_submits_it_has(
    client_of, owner, row_counts, scopes, asked, status
):
    text = MANIFEST.format(" ".join(f"builds.sr.ht/{grant}" for grant in asked.split()))
    client = client_of(owner, *scopes.split())

    response = client.post("/api/jobs", json={"manifest": text})

    assert response.status_code == status
    assert row_counts()["job"] == (status == 200)


def test_the_refusal_names_what_is_missing(client_of, owner):
    text = MANIFEST.format("builds.sr.ht/LOGS:RW")

    response = client_of(owner, "jobs:write").post("/api/jobs", json={"manifest": text})

    reason = "oauth: a token without LOGS:RW cannot hand that on to a job"
    assert response.json == {"errors": [{"reason": reason}]}


def test_without_secrets_a_job_gets_no_token_and_so_may_ask_for_any(client_of, owner):
    body = {"manifest": MANIFEST.format("builds.sr.ht/SECRETS:RW"), "secrets": False}

    assert client_of(owner, "jobs:write").post("/api/jobs", json=body).status_code == 200


# --- no token reads secrets by way of a job -------------------------------------------------------

WITH_SECRET = "image: debian/trixie\nsecrets: [deploy-key]\ntasks: [{build: make}]\n"


@pytest.mark.parametrize(
    ("scopes", "asked", "given"),
    [
        ("jobs:write", None, True),
        ("jobs:write", True, True),
        ("jobs:write", False, False),
        ("JOBS:RW SECRETS:RO", None, True),
        ("JOBS:RW secrets:read", True, True),
        ("JOBS:RW SECRETS:RW", None, True),
        ("JOBS:RW", None, False),
        ("JOBS:RW", False, False),
        ("JOBS:RW LOGS:RW PROFILE:RW", None, False),
    ],
)
def test_a_job_has_secrets_if_whoever_submits_it_may_read_them(
    client_of, owner, fetch, scopes, asked, given
):
    body = {"manifest": WITH_SECRET, "secrets": asked}

    answer = client_of(owner, *scopes.split()).post("/api/jobs", json=body)

    assert answer.status_code == 200
    assert fetch(answer.json["id"]).secrets is given


def test_to_ask_for_secrets_without_is_refused_and_nothing_is_stored(client_of, owner, row_counts):
    body = {"manifest": WITH_SECRET, "secrets": True}

    answer = client_of(owner, "JOBS:RW").post("/api/jobs", json=body)

    reason = "secrets: a token without SECRETS:RO cannot give them to a job"
    assert (answer.status_code, answer.json) == (403, {"errors": [{"reason": reason}]})
    assert row_counts()["job"] == 0


def test_who_submits_without_a_token_hands_on_what_the_user_may(backend, owner):
    plan = jobs.read_manifest(backend.catalogue, MANIFEST.format("builds.sr.ht/SECRETS:RW"))

    assert jobs.submit(backend, owner, jobs.Submission(plan)).id
    with pytest.raises(Forbidden):
        jobs.submit(backend, owner, jobs.Submission(plan, grantable=granted(["SECRETS:RO"])))


def test_everything_is_everything():
    assert granted(EVERYTHING) == EVERYTHING
    assert len(EVERYTHING) == 8


# --- as others write them -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("jobs:read jobs:read", ["jobs:read"]),
        ("builds.sr.ht/JOBS:RW meta.sr.ht/PROFILE:RO", ["JOBS:RW", "PROFILE:RO"]),
        ("buildsrht/LOGS:RO LOGS:RO", ["LOGS:RO"]),
        ("meta.sr.ht/SSH_KEYS:RW meta.sr.ht/PGP_KEYS:RO", ["PROFILE:RO", "PROFILE:RW"]),
    ],
)
def test_grants_of_the_originals_services_are_those_of_this_one(words, kept):
    assert scopes.read_scopes(words.split()) == kept


@pytest.mark.parametrize(
    "word",
    [
        *("git.sr.ht/REPOSITORIES:RO", "meta.sr.ht/JOBS:RO", "builds.sr.ht/SSH_KEYS:RO", "JOBS"),
        *("builds.sr.ht/JOBS", "builds.sr.ht/JOBS:RX", "JOBS:RO\n", "jobs:READ", "builds.sr.ht/"),
    ],
)
def test_a_word_that_stands_for_nothing_here_is_refused_by_name(word):
    with pytest.raises(BadInput) as refused:
        scopes.read_scopes([word, "jobs:read"])

    [problem] = refused.value.errors
    assert (problem.field, repr(word) in problem.reason) == ("scopes", True)


@pytest.mark.parametrize(
    ("asked", "held", "is_within"),
    [
        ("jobs:read", "jobs:write", True),
        ("JOBS:RO LOGS:RO", "jobs:read", True),
        ("jobs:read", "JOBS:RO LOGS:RO", True),
        ("jobs:write", "jobs:write SECRETS:RO", True),
        ("jobs:write", "JOBS:RW LOGS:RO SECRETS:RO", True),
        ("jobs:write", "jobs:read", False),
        ("LOGS:RO", "JOBS:RW", False),
        # The older word lets jobs have secrets, the newer ones do not.
        ("jobs:write", "JOBS:RW LOGS:RO", False),
    ],
)
def test_some_scopes_are_within_others(asked, held, is_within):
    assert scopes.is_within(asked.split(), held.split()) is is_within
