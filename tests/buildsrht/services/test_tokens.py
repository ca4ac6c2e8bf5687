"""Tokens and the users they stand for."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import String, cast, select

from buildsrht.errors import BadInput, NotFound
from buildsrht.models import Token, User
from buildsrht.services import tokens
from buildsrht.services.users import ensure_user

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


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [(["jobs:read"], {"jobs:read"}), (["jobs:write"], {"jobs:read", "jobs:write"})],
)
def test_writing_implies_reading(backend, find, granted, allowed):
    token = find(tokens.create_token(backend, "ann", granted))

    assert tokens.allowed_scopes(token) == allowed


@pytest.mark.parametrize("name", ["a", "_", "ann-2_b", "x" * 63])
def test_a_user_is_made_once(backend, name):
    for _ in range(2):
        with backend.transaction() as session:
            assert ensure_user(session, name).canonical_name == f"~{name}"

    with backend.transaction() as session:
        assert session.scalars(select(User.name)).all() == [name]
