"""Locking a user: who adds to what somebody has is alone with it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from buildsrht.errors import BadInput
from buildsrht.services import tokens
from buildsrht.services.users import lock_user

AT_ONCE = text("SET LOCAL lock_timeout = '20ms'")


def test_of_two_that_lock_a_user_the_second_waits(backend, owner, stranger):
    with backend.transaction() as first:
        lock_user(first, owner)
        with backend.transaction() as second:
            second.execute(AT_ONCE)
            lock_user(second, stranger)
            with pytest.raises(OperationalError, match="lock timeout"):
                lock_user(second, owner)
            second.rollback()


def test_what_only_names_the_user_comes_in_all_the_same(backend, owner, make_job):
    with backend.transaction() as session:
        lock_user(session, owner)
        assert make_job().owner_id == owner.id


def test_of_several_tokens_at_once_no_more_are_made_than_one_may_have(
    backend, owner, row_counts, monkeypatch
):
    monkeypatch.setattr(tokens, "TOKENS_OF_A_USER", 2)

    def make(_):
        try:
            return tokens.create_token(backend, owner.name, ["jobs:read"])
        except BadInput:
            return None

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(make, range(8)))

    assert len([text for text in made if text]) == 2
    assert row_counts()["token"] == 2
