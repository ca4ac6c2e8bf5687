"""Nobody finds what they may not see, whichever way they come."""

import pytest

from buildsrht.models import Visibility
from buildsrht.services.tokens import create_job_token
from tests.build_host import claim

PUBLIC, UNLISTED, PRIVATE = Visibility


@pytest.mark.parametrize("visibility", list(Visibility))
@pytest.mark.parametrize("who", ["owner", "admin", "stranger"])
def test_a_job_is_null_for_whoever_may_not_see_it(find, request, make_job, visibility, who):
    make_job(visibility=visibility)
    may_see = visibility != PRIVATE or who in ("owner", "admin")

    found = find("{ job(id: 1) { id } }", user=request.getfixturevalue(who))

    assert found == {"job": {"id": 1} if may_see else None}


def test_a_job_that_is_not_there_is_null(find):
    assert find("{ job(id: 1) { id } jobGroup(id: 1) { id } }") == {"job": None, "jobGroup": None}


def test_jobs_are_ones_own(find, make_job, stranger):
    make_job(visibility=PUBLIC)
    make_job(user=stranger)

    assert find("{ jobs { results { id } } }") == {"jobs": {"results": [{"id": 1}]}}


@pytest.mark.parametrize("who", ["owner", "admin", "stranger"])
def test_a_users_list_has_all_jobs_for_themselves_and_public_ones_for_others(
    find, request, make_job, who
):
    for visibility in Visibility:
        make_job(visibility=visibility)

    found = find(
        '{ user(username: "owner") { jobs { results { visibility } } } }',
        user=request.getfixturevalue(who),
    )

    seen = [job["visibility"] for job in found["user"]["jobs"]["results"]]
    assert seen == (["PRIVATE", "UNLISTED", "PUBLIC"] if who == "owner" else ["PUBLIC"])


# --- groups -----------------------------------------------------------------------------------


@pytest.fixture
def group_of(find, make_job):
    """A group of jobs with these visibilities."""

    def group(*visibilities):
        ids = [make_job("pending", visibility=each).id for each in visibilities]
        find(
            "mutation ($ids: [Int!]!) { createGroup(jobIds: $ids, execute: false, triggers: ["
            '{type: EMAIL, condition: ALWAYS, email: {to: "ann@example.org"}}]) { id } }',
            ids=ids,
        )

    return group


def test_the_owner_finds_all_of_a_group(find, group_of):
    group_of(*Visibility)
    found = find("{ jobGroup(id: 1) { jobs { id } triggers { condition } } }")

    assert found["jobGroup"]["jobs"] == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert found["jobGroup"]["triggers"] == [{"condition": "ALWAYS"}]


def test_others_find_the_public_jobs_of_a_group_and_nobody_who_is_told_of_it(
    find, group_of, stranger
):
    group_of(*Visibility)
    group = "{ id jobs { id } triggers { condition } }"

    found = find(f"{{ jobGroup(id: 1) {group} job(id: 1) {{ group {group} }} }}", user=stranger)

    expected = {"id": 1, "jobs": [{"id": 1}], "triggers": []}
    assert found == {"jobGroup": expected, "job": {"group": expected}}


def test_a_group_without_public_jobs_is_hidden_from_whoever_knows_one_of_its_jobs(
    find, group_of, stranger
):
    group_of(UNLISTED, PRIVATE)
    found = find("{ jobGroup(id: 1) { id } job(id: 1) { id group { id } } }", user=stranger)

    assert found == {"jobGroup": None, "job": {"id": 1, "group": None}}


# --- people and their secrets -----------------------------------------------------------------


def test_an_email_address_is_for_oneself(backend, find, owner, stranger):
    with backend.transaction() as session:
        session.merge(owner).email = "owner@example.org"

    query = '{ user(username: "owner") { email } userByID(id: 1) { ... on User { email } } }'
    own = {"email": "owner@example.org"}
    assert find(query) == {"user": own, "userByID": own}
    empty = {"email": ""}
    assert find(query, user=stranger) == {"user": empty, "userByID": empty}


def test_the_secrets_of_a_job_are_for_its_owner(find, make_job, manifest, admin, stranger):
    find(
        "mutation { createSecret(secret:"
        ' {type: FILE, name: "deploy", material: "x", path: "~/x"}) { id } }'
    )
    make_job(manifest=f"{manifest}secrets: [deploy, unknown, deploy]\n", visibility=PUBLIC)
    query = "{ job(id: 1) { secrets { name } } }"

    assert find(query) == {"job": {"secrets": [{"name": "deploy"}]}}
    assert find(query, user=stranger) == {"job": {"secrets": None}}
    assert find(query, user=admin) == {"job": {"secrets": None}}


def test_a_job_without_secrets_has_none(find, make_job):
    make_job(secrets=False)
    assert find("{ job(id: 1) { secrets { name } } }") == {"job": {"secrets": None}}


def test_secrets_are_ones_own(find, stranger):
    find(
        'mutation { createSecret(secret: {type: FILE, material: "x", path: "~/x"}) { id } }',
        user=stranger,
    )
    assert find("{ secrets { results { id } } }") == {"secrets": {"results": []}}


def test_the_token_of_a_job_finds_what_its_owner_may_see_and_not_what_an_administrator_may(
    backend, client_of, make_job, admin, stranger
):
    make_job(user=stranger, visibility=PRIVATE)
    own = make_job(user=admin)
    token = create_job_token(backend, claim(backend, own.id, "host-1"), ["JOBS:RO", "PROFILE:RO"])

    response = client_of(None).post(
        "/query",
        json={"query": "{ me { username updated } job(id: 1) { id } }"},
        headers={"Authorization": f"Bearer {token}"},
    )

    assert response.json["data"]["me"]["username"] == "admin"
    assert response.json["data"]["job"] is None
