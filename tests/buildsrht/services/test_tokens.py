"""Tokens and the users they stand for."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import String, cast, event, func, select, update

from buildsrht.errors import BadInput, Conflict, NotFound
from buildsrht.models import Job, JobStatus, Token, User
from buildsrht.services import jobs, tokens
from buildsrht.services.scopes import SCOPES
from buildsrht.services.users import ensure_user
from tests.build_host import claim, finish

ALL = ["jobs:read", "jobs:write"]


@pytest.fixture
def find(backend):
    def find_by_text(text):
        with backend.transaction() as session:
            return tokens.find_token(session, text)

    return find_by_text


def test_a_token_is_found_by_its_text_and_knows_its_user(backend, find):
    text = tokens.create_token(backend, "ann", ALL, comment="laptop")

    token = find(text)

    assert (token.user.name, token.scopes, token.comment) == ("ann", ALL, "laptop")
    assert tokens.is_usable(token)


def test_a_token_is_recognised_by_its_prefix_and_no_two_are_alike(backend):
    texts = [tokens.create_token(backend, "ann", ALL) for _ in range(2)]

    assert all(text.startswith("bsrht_") and len(text) > 40 for text in texts)
    assert texts[0] != texts[1]


def test_the_database_does_not_hold_the_text(backend):
    text = tokens.create_token(backend, "ann", ALL)

    with backend.transaction() as session:
        columns = [cast(column, String) for column in Token.__table__.columns]
        [row] = session.execute(select(*columns))
    assert text.removeprefix("bsrht_") not in str(row)


def test_a_token_expires(backend, find):
    text = tokens.create_token(backend, "ann", ALL, days=30)

    left = find(text).expires - datetime.now(UTC)

    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_a_revoked_token_is_not_usable_and_may_be_revoked_again(backend, find):
    text = tokens.create_token(backend, "ann", ALL)

    tokens.revoke_token(backend, text)
    revoked = find(text).revoked
    tokens.revoke_token(backend, text)

    assert not tokens.is_usable(find(text))
    assert find(text).revoked == revoked


def test_a_token_that_does_not_exist_cannot_be_revoked(backend):
    with pytest.raises(NotFound):
        tokens.revoke_token(backend, "bsrht_unknown")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["jobs:read", "everything"]}, "scopes"),
        ({"scopes": ["JOBS:READ"]}, "scopes"),
        ({"days": 0}, "days"),
        ({"days": -1}, "days"),
        ({"days": 3651}, "days"),
        *[({"user": name}, "user") for name in ("", "Ann", "~ann", "1a", "a b", "a/b", "x" * 64)],
    ],
)
def test_a_bad_request_for_a_token_is_refused_by_name_and_nothing_is_stored(
    backend, row_counts, asked, field
):
    before = row_counts()

    with pytest.raises(BadInput) as refused:
        tokens.create_token(backend, **{"user": "ann", "scopes": ALL, **asked})

    assert {error.field for error in refused.value.errors} == {field}
    assert row_counts() == before


# --- scopes ---------------------------------------------------------------------------------------

READ_JOBS = {"jobs:read", "JOBS:RO"}
WRITE_JOBS = {"jobs:write", "JOBS:RW"}
READ_LOGS = {"logs:read", "LOGS:RO"}
WRITE_LOGS = {"logs:write", "LOGS:RW"}


@pytest.mark.parametrize(
    ("scopes", "opens"),
    [
        ("jobs:read", READ_JOBS | READ_LOGS),
        ("jobs:write", READ_JOBS | WRITE_JOBS | READ_LOGS),
        ("JOBS:RO", READ_JOBS),
        ("JOBS:RW", READ_JOBS | WRITE_JOBS),
        ("logs:read", READ_LOGS),
        ("logs:write", READ_LOGS | WRITE_LOGS),
        ("LOGS:RO", READ_LOGS),
        ("JOBS:RO LOGS:RW", READ_JOBS | READ_LOGS | WRITE_LOGS),
        ("profile:read", {"profile:read", "PROFILE:RO"}),
        ("PROFILE:RW", {"profile:read", "PROFILE:RO", "profile:write", "PROFILE:RW"}),
        ("secrets:read", {"secrets:read", "SECRETS:RO"}),
        ("SECRETS:RW", {"secrets:read", "SECRETS:RO", "secrets:write", "SECRETS:RW"}),
        (" ".join(SCOPES), set(SCOPES)),
    ],
)
def test_a_token_opens_what_its_words_stand_for_and_nothing_else(backend, find, scopes, opens):
    token = find(tokens.create_token(backend, "ann", scopes.split()))

    assert {scope for scope in SCOPES if tokens.is_allowed(token, scope)} == opens


# --- a job's own ----------------------------------------------------------------------------------


@pytest.fixture
def run(backend, make_job):
    """A run of the owner's job."""
    return claim(backend, make_job().id, "host-1")


def test_a_job_token_is_its_owners_and_ends_with_the_jobs_time(backend, find, run, fetch):
    token = find(tokens.create_job_token(backend, run, ["JOBS:RO", "LOGS:RO"]))

    job = fetch(run.job_id)
    assert (token.user.name, token.job_id) == ("owner", job.id)
    assert token.scopes == ["JOBS:RO", "LOGS:RO"]
    assert token.expires == job.started + timedelta(seconds=backend.config.worker.job_timeout)
    assert tokens.is_usable(token)


@pytest.mark.parametrize("status", [status for status in JobStatus if status.is_final])
def test_a_job_token_is_dead_when_its_job_is_over(backend, find, run, status):
    text = tokens.create_job_token(backend, run, ["JOBS:RO"])

    finish(backend, run, status)

    assert find(text) is None


def test_a_job_token_is_dead_when_its_job_was_cancelled_and_still_runs(
    backend, find, run, owner, fetch
):
    text = tokens.create_job_token(backend, run, ["JOBS:RO"])

    jobs.cancel(backend, run.job_id, owner)

    assert fetch(run.job_id).status == JobStatus.RUNNING
    assert find(text) is None


def test_a_job_token_is_dead_when_its_build_host_is_lost(backend, find, run):
    text = tokens.create_job_token(backend, run, ["JOBS:RO"])

    with backend.transaction() as session:
        past = func.now() - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == run.job_id).values(lease_expires=past))

    assert find(text) is None


def test_a_job_of_an_administrator_is_none(backend, find, admin, make_job):
    run = claim(backend, make_job(user=admin).id, "host-1")
    by_hand = find(tokens.create_token(backend, admin.name, ALL))
    of_job = find(tokens.create_job_token(backend, run, ["JOBS:RW"]))

    assert tokens.user_of(by_hand).admin
    assert tokens.user_of(of_job).id == admin.id
    assert not tokens.user_of(of_job).admin


def test_a_later_token_of_a_job_takes_the_place_of_the_one_before(backend, find, run):
    first, second = (tokens.create_job_token(backend, run, ["JOBS:RO"]) for _ in range(2))

    assert find(first) is None
    assert tokens.is_usable(find(second))


def test_a_job_token_is_made_for_a_run_that_still_has_its_job_only(backend, run, row_counts):
    finish(backend, run, JobStatus.FAILED)

    with pytest.raises(Conflict):
        tokens.create_job_token(backend, run, ["JOBS:RO"])

    assert row_counts()["token"] == 0


def test_tokens_of_jobs_that_are_over_are_removed_and_no_others(backend, find, run, make_job):
    other = tokens.create_token(backend, "ann", ALL)
    ended = claim(backend, make_job().id, "host-1")
    alive = tokens.create_job_token(backend, run, ["JOBS:RO"])
    tokens.create_job_token(backend, ended, ["JOBS:RO"])
    finish(backend, ended, JobStatus.SUCCESS)

    tokens.remove_job_tokens(backend)

    with backend.transaction() as session:
        left = session.scalars(select(Token.hash)).all()
    assert set(left) == {find(text).hash for text in (other, alive)}


def test_to_find_a_token_that_is_of_no_job_takes_one_query(backend):
    text = tokens.create_token(backend, "ann", ALL)
    asked = []
    with backend.transaction() as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", lambda *args: asked.append(args[2]))

        assert tokens.find_token(session, text).user.name == "ann"

    assert len(asked) == 1


@pytest.mark.parametrize("name", ["a", "_", "ann-2_b", "x" * 63])
def test_a_user_is_made_once(backend, name):
    for _ in range(2):
        with backend.transaction() as session:
            assert ensure_user(session, name).canonical_name == f"~{name}"

    with backend.transaction() as session:
        assert session.scalars(select(User.name)).all() == [name]


# --- a user's own ---------------------------------------------------------------------------------


@pytest.fixture
def listed(backend):
    def listed(user):
        with backend.transaction() as session:
            return [token.comment for token in tokens.list_tokens(session, user)]

    return listed


def test_a_list_has_the_good_ones_that_the_user_made(backend, listed, run, owner, stranger, token):
    for comment in ("old", "revoked", "good", "newest"):
        token(owner, comment=comment)
    token(stranger, comment="another's")
    tokens.create_job_token(backend, run, ["JOBS:RO"])
    with backend.transaction() as session:
        session.execute(update(Token).where(Token.comment == "old").values(expires=func.now()))
        session.execute(update(Token).where(Token.comment == "revoked").values(revoked=func.now()))

    assert listed(owner) == ["newest", "good"]


def test_a_user_revokes_their_own_by_number_and_nobody_elses(
    backend, listed, run, owner, stranger, token
):
    mine, theirs = (find_id(backend, token(user)) for user in (owner, stranger))
    of_job = find_id(backend, tokens.create_job_token(backend, run, ["JOBS:RO"]))

    assert tokens.revoke_own_token(backend, owner, mine).id == mine
    first = tokens.revoke_own_token(backend, owner, mine).revoked
    assert tokens.revoke_own_token(backend, owner, mine).revoked == first
    for number in (theirs, of_job, 4711):
        with pytest.raises(NotFound):
            tokens.revoke_own_token(backend, owner, number)

    assert listed(owner) == []
    assert len(listed(stranger)) == 1


def find_id(backend, text):
    with backend.transaction() as session:
        return tokens.find_token(session, text).id


@pytest.mark.parametrize("comment", ["x" * 256, "two\nlines", "a\0b"])
def test_a_comment_is_one_line(backend, row_counts, comment):
    with pytest.raises(BadInput) as refused:
        tokens.create_token(backend, "ann", ALL, comment=comment)

    assert [error.field for error in refused.value.errors] == ["comment"]
    assert row_counts()["token"] == 0


def test_scopes_may_be_written_as_the_originals_clients_do(backend, find):
    text = tokens.create_token(backend, "ann", ["builds.sr.ht/JOBS:RW", "meta.sr.ht/PROFILE:RO"])

    assert find(text).scopes == ["JOBS:RW", "PROFILE:RO"]
