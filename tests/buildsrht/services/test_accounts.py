"""Accounts and their passwords."""

import pytest
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy import func, select, update

from buildsrht.errors import BadInput, Conflict, NotFound
from buildsrht.models import SignIn, User
from buildsrht.services import accounts, sign_ins

PASSWORD = "correct horse battery"


@pytest.fixture
def ada(backend):
    accounts.create_user(backend, "ada", "ada@example.org")
    accounts.set_password(backend, "ada", PASSWORD)
    return find(backend, "ada")


def find(backend, name):
    with backend.transaction() as session:
        return session.scalar(select(User).where(User.name == name))


def test_an_account_is_opened_by_its_name_and_password_and_nothing_else(backend, ada):
    assert accounts.find_by_password(backend, "ada", PASSWORD).id == ada.id
    for name, password in [
        *[("ada", wrong) for wrong in ("", PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper())],
        *[("ada", ada.password), ("ada", PASSWORD + "x" * 1024), ("Ada", PASSWORD)],
        *[("bob", PASSWORD), ("", PASSWORD), ("ada\0", PASSWORD), ("~ada", PASSWORD)],
    ]:
        assert accounts.find_by_password(backend, name, password) is None, (name, password)


def test_nobody_signs_in_to_an_account_without_a_password(backend, make_user):
    make_user("old")

    assert accounts.find_by_password(backend, "old", "") is None
    assert accounts.find_by_password(backend, "old", "the password of nobody") is None


def test_a_name_that_is_nobodys_costs_as_much_as_one_that_is(backend, ada, monkeypatch):
    asked = []

    class Counting(PasswordHasher):
        def verify(self, hashed, password):
            asked.append(extract_parameters(hashed))
            return super().verify(hashed, password)

    monkeypatch.setattr(accounts, "HASHER", Counting())

    for name in ("ada", "bob"):
        accounts.find_by_password(backend, name, "wrong")

    known, unknown = asked
    assert known == unknown


def test_the_password_is_kept_as_an_argon2_hash(ada):
    assert ada.password.startswith("$argon2id$")
    assert PASSWORD not in ada.password


def test_a_hash_of_other_parameters_is_made_anew_at_the_next_sign_in(backend, ada):
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with backend.transaction() as session:
        session.execute(update(User).values(password=old))

    user = accounts.find_by_password(backend, "ada", PASSWORD)

    new = find(backend, "ada").password
    assert new != old
    assert not accounts.HASHER.check_needs_rehash(new)
    assert accounts.find_by_password(backend, "ada", PASSWORD)
    assert sign_ins.begin(backend, user)


@pytest.mark.parametrize("password", ["", "nine char", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_changes_nothing(backend, ada, password):
    with pytest.raises(BadInput) as refused:
        accounts.set_password(backend, "ada", password)

    assert [error.field for error in refused.value.errors] == ["password"]
    assert find(backend, "ada").password == ada.password


def test_the_longest_password_opens(backend, ada):
    accounts.set_password(backend, "ada", "ä" * 1024)

    assert accounts.find_by_password(backend, "ada", "ä" * 1024)


def test_who_is_unknown_gets_no_password(backend):
    with pytest.raises(NotFound):
        accounts.set_password(backend, "nobody", PASSWORD)


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"name": "Ada"}, {"name"}),
        ({"name": "ada"}, {"name"}),
        ({"email": "no address"}, {"email"}),
        ({"email": "a@b, c@d"}, {"email"}),
        ({"email": "a\udcff@b.c"}, {"email"}),
        ({"email": "ADA@example.org"}, {"email"}),
        ({"email": "x" * 251 + "@b.c"}, {"email"}),
        ({"name": "", "email": ""}, {"name", "email"}),
    ],
)
def test_what_cannot_be_an_account_is_refused_by_name(backend, ada, row_counts, asked, fields):
    before = row_counts()

    with pytest.raises(BadInput) as refused:
        accounts.create_user(backend, **{"name": "bob", "email": "bob@example.org", **asked})

    assert {error.field for error in refused.value.errors} == fields
    assert row_counts() == before


# --- signed in ------------------------------------------------------------------------------------


def signed_in(backend, text):
    with backend.transaction() as session:
        return sign_ins.find_user(session, text)


def test_each_sign_in_has_a_text_of_its_own_and_ends_alone(backend, ada):
    first, second = sign_ins.begin(backend, ada), sign_ins.begin(backend, ada)
    assert signed_in(backend, first).name == "ada"

    sign_ins.end(backend, first)

    assert signed_in(backend, first) is None
    assert signed_in(backend, second).name == "ada"


def test_a_new_password_ends_them_all_and_of_nobody_else(backend, ada, owner):
    texts = [sign_ins.begin(backend, ada) for _ in range(2)]
    other = sign_ins.begin(backend, owner)

    accounts.set_password(backend, "ada", PASSWORD)

    assert [signed_in(backend, text) for text in texts] == [None, None]
    assert signed_in(backend, other)


def test_a_password_that_is_changed_while_somebody_signs_in_by_the_old_one(backend, ada):
    user = accounts.find_by_password(backend, "ada", PASSWORD)
    accounts.set_password(backend, "ada", "another one, quite")

    with pytest.raises(Conflict):
        sign_ins.begin(backend, user)


def test_one_that_has_expired_is_nobodys_and_removed(backend, ada):
    old, new = sign_ins.begin(backend, ada), sign_ins.begin(backend, ada)
    with backend.transaction() as session:
        first = select(func.min(SignIn.id)).scalar_subquery()
        session.execute(update(SignIn).where(SignIn.id == first).values(expires=func.now()))

    assert signed_in(backend, old) is None
    sign_ins.remove_expired_sign_ins(backend)
    with backend.transaction() as session:
        assert session.scalar(select(func.count(SignIn.id))) == 1
    assert signed_in(backend, new)


def test_the_database_does_not_hold_the_text(backend, ada):
    text = sign_ins.begin(backend, ada)

    with backend.transaction() as session:
        [kept] = session.scalars(select(SignIn.hash))
    assert text.encode() not in kept
    assert signed_in(backend, kept.hex()) is None


def test_who_signs_in_again_and_again_is_signed_out_where_it_was_longest_ago(
    backend, ada, monkeypatch
):
    monkeypatch.setattr(sign_ins, "BROWSERS", 3)

    texts = [sign_ins.begin(backend, ada) for _ in range(4)]

    assert [bool(signed_in(backend, text)) for text in texts] == [False, True, True, True]
