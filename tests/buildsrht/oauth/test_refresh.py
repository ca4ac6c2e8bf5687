"""Refresh tokens: each is good once, and one that was copied ends the whole grant."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text, update

from buildsrht.errors import Conflict, NotFound
from buildsrht.models import OAuthGrant, RefreshToken, Token, Webhook
from buildsrht.services import clients, devices, grants
from tests.buildsrht.oauth.asking import error_of


def test_each_gives_an_access_token_and_the_next_one(tokens_of, refresh, program, status_with):
    tokens = tokens_of(program)

    for _ in range(3):
        answer = refresh(program, tokens["refresh_token"])
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json["refresh_token"] != tokens["refresh_token"]
        tokens = answer.json
        assert (tokens["scope"], status_with(tokens["access_token"])) == ("jobs:read", 200)


def test_one_that_comes_twice_ends_all_that_came_of_the_grant(
    tokens_of, refresh, program, status_with
):
    first = tokens_of(program)
    second = refresh(program, first["refresh_token"]).json
    other = tokens_of(program)

    assert error_of(refresh(program, first["refresh_token"])) == "invalid_grant"

    assert [status_with(each["access_token"]) for each in (first, second, other)] == [401, 401, 200]
    assert error_of(refresh(program, second["refresh_token"])) == "invalid_grant"


def test_of_those_that_come_at_once_none_has_tokens_in_the_end(
    app, tokens_of, program, status_with
):
    form = {
        "grant_type": "refresh_token",
        "refresh_token": tokens_of(program)["refresh_token"],
        "client_id": str(program.uuid),
    }

    def post(_):
        return app.test_client().post("/oauth2/access-token", data=form)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    [won] = [answer.json for answer in answers if answer.status_code == 200]
    assert status_with(won["access_token"]) == 401


def test_two_that_were_both_found_good_race_and_the_grant_is_revoked(backend, tokens_of, program):
    """The narrowest of moments: both have looked, neither has used it up."""
    text = tokens_of(program)["refresh_token"]
    mine, theirs = (grants.find_refresh_token(backend, text) for _ in range(2))
    grants.issue(backend, mine)

    with pytest.raises(Conflict):
        grants.issue(backend, theirs)

    with backend.transaction() as session:
        assert session.scalars(select(OAuthGrant.revoked)).one() is not None


def test_one_of_another_program_is_nothing_and_stays_good(tokens_of, refresh, program, register):
    other, _ = register(name="Other")
    text = tokens_of(program)["refresh_token"]

    assert error_of(refresh(other, text)) == "invalid_grant"
    assert refresh(program, text).status_code == 200


@pytest.mark.parametrize("text", ["", "bsrht_refresh_unknown", "\0", "ä"])
def test_an_unknown_one_is_refused(refresh, program, text):
    assert error_of(refresh(program, text)) == "invalid_grant"


def test_an_access_token_is_none(tokens_of, refresh, program):
    assert error_of(refresh(program, tokens_of(program)["access_token"])) == "invalid_grant"


def test_one_that_has_expired_is_refused(backend, tokens_of, refresh, program):
    text = tokens_of(program)["refresh_token"]
    with backend.transaction() as session:
        session.execute(update(RefreshToken).values(expires=func.now()))

    assert error_of(refresh(program, text)) == "invalid_grant"


@pytest.mark.parametrize(
    ("held", "asked", "given"),
    [
        ("jobs:write", "jobs:read", "jobs:read"),
        ("jobs:write", "JOBS:RO", "JOBS:RO"),
        ("jobs:write profile:read", "", "jobs:write profile:read"),
        ("jobs:write", "builds.sr.ht/JOBS:RW", "JOBS:RW"),
    ],
)
def test_a_program_may_ask_for_less(tokens_of, refresh, program, status_with, held, asked, given):
    tokens = tokens_of(program, scope=held)

    narrow = refresh(program, tokens["refresh_token"], scope=asked).json

    assert narrow["scope"] == given
    wide = refresh(program, narrow["refresh_token"]).json
    assert wide["scope"] == held
    may_write = "jobs:write" in given or "JOBS:RW" in given
    assert status_with(narrow["access_token"], "POST") == (400 if may_write else 403)


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("jobs:read", "jobs:write"),
        ("jobs:read", "jobs:read profile:read"),
        ("JOBS:RW LOGS:RO", "jobs:write"),
        ("JOBS:RW", "JOBS:RW LOGS:RO"),
        ("jobs:read", "fly"),
    ],
)
def test_and_never_for_more_and_to_try_does_not_spend_it(tokens_of, refresh, program, held, asked):
    text = tokens_of(program, scope=held)["refresh_token"]

    assert error_of(refresh(program, text, scope=asked)) == "invalid_scope"
    assert refresh(program, text).json["scope"] == held


def test_a_program_that_acts_for_an_administrator_is_none(
    client_of, client, admin, make_job, tokens_of, program
):
    """It was asked about the administrator's jobs, not about everybody's."""
    job = make_job(visibility="private")
    token = tokens_of(program, user=admin)["access_token"]

    header = {"Authorization": f"Bearer {token}"}
    assert client_of(admin).get(f"/api/jobs/{job.id}").status_code == 200
    assert client.get(f"/api/jobs/{job.id}", headers=header).status_code == 404


# --- cleaning up ----------------------------------------------------------------------------------


def test_what_has_expired_is_forgotten_and_nothing_else(
    backend, tokens_of, refresh, program, status_with, row_counts
):
    old, new = tokens_of(program), tokens_of(program)
    rows = row_counts()
    grants.remove_old_grants(backend)
    assert row_counts() == rows

    with backend.transaction() as session:
        first = select(func.min(OAuthGrant.id)).scalar_subquery()
        for kind in (Token, RefreshToken, grants.AuthorizationCode):
            past = func.now() - grants.RECORD
            session.execute(update(kind).where(kind.grant_id == first).values(expires=past))
    grants.remove_old_grants(backend)

    left = row_counts()
    for table in ("oauth_grant", "authorization_code", "refresh_token", "token"):
        assert (rows[table], left[table]) == (2, 1)
    assert [status_with(each["access_token"]) for each in (old, new)] == [401, 200]
    assert refresh(program, new["refresh_token"]).status_code == 200


def test_a_used_token_is_remembered_until_it_would_have_expired(
    backend, tokens_of, refresh, program, status_with
):
    first = tokens_of(program)
    second = refresh(program, first["refresh_token"]).json

    grants.remove_old_grants(backend)

    assert error_of(refresh(program, first["refresh_token"])) == "invalid_grant"
    assert status_with(second["access_token"]) == 401


def test_a_token_that_somebody_made_by_hand_is_not_forgotten(backend, token, owner, row_counts):
    token(owner)
    with backend.transaction() as session:
        session.execute(update(Token).values(expires=func.now()))

    grants.remove_old_grants(backend)

    assert row_counts()["token"] == 1


# --- what goes with a grant -----------------------------------------------------------------------


@pytest.fixture
def make_webhook(backend, owner):
    def make(client):
        with backend.transaction() as session:
            session.add(
                Webhook(
                    owner_id=owner.id,
                    client_id=client and client.id,
                    scopes=["JOBS:RO"],
                    events=["JOB_CREATED"],
                    url="https://app.example.org/told",
                    query="{ version { major } }",
                )
            )

    return make


def test_a_program_is_told_nothing_more_when_all_that_it_had_is_taken_back(
    backend, owner, register, program, tokens_of, make_webhook, row_counts
):
    other, _ = register(name="Other")
    for client in (program, other):
        tokens_of(client)
        make_webhook(client)
    tokens_of(program)
    make_webhook(None)

    with backend.transaction() as session:
        of_program = [
            grant.id
            for grant in grants.list_grants(session, owner)
            if grant.client_id == program.id
        ]
    left = []
    for grant_id in of_program:
        grants.revoke_own_grant(backend, owner, grant_id)
        left.append(row_counts()["webhook"])

    assert left == [3, 2]


# --- a program that goes away on the way ----------------------------------------------------------


def test_a_program_that_was_deleted_meanwhile_gets_nothing(
    backend, owner, stranger, ask, client, program, tokens_of, row_counts
):
    """The narrowest of moments, each."""
    known = clients.program_of(program)
    text = tokens_of(program)["refresh_token"]
    found = grants.find_refresh_token(backend, text)
    clients.delete_client(backend, stranger, program.id)

    with pytest.raises(NotFound):
        grants.authorize(backend, owner, known, ["jobs:read"], "", "")
    with pytest.raises(NotFound):
        devices.begin(backend, known, ["jobs:read"])
    with pytest.raises(Conflict):
        grants.issue(backend, found)

    assert row_counts()["oauth_grant"] == 0


def test_a_program_can_be_deleted_while_it_gets_tokens(
    backend, stranger, program, tokens_of, refresh, status_with, monkeypatch
):
    """Either waits for the other, and not both at once."""
    refresh_token = tokens_of(program)["refresh_token"]
    use_up = grants._use_up
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def somebody_waits():
        with backend.transaction() as session:
            return session.scalar(waiting) > 0

    with ThreadPoolExecutor() as threads:
        deletions = []

        def while_it_is_deleted(session, once):
            won = use_up(session, once)
            deletions.append(threads.submit(clients.delete_client, backend, stranger, program.id))
            while not deletions[0].done() and not somebody_waits():
                time.sleep(0.002)
            return won

        monkeypatch.setattr(grants, "_use_up", while_it_is_deleted)
        tokens = refresh(program, refresh_token).json
        deletions[0].result(10)

    assert status_with(tokens["access_token"]) == 401
