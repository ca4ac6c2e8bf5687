"""What every page says on top: one notice, and nobody's is taken away unseen."""

import pytest

from buildsrht.errors import BadInput, Conflict, NotFound
from buildsrht.services import notices


@pytest.fixture
def said(backend):
    def said() -> str | None:
        with backend.transaction() as session:
            found = notices.find_notice(session)
        return found and found.text

    return said


def test_a_notice_is_there_until_it_is_ended(backend, admin, said):
    assert said() is None

    notice = notices.set_notice(backend, admin, "Down at noon.\r\nBack at one.\n", None)
    assert said() == "Down at noon.\nBack at one."
    assert notice.author_id == admin.id

    notices.end_notice(backend, admin, notice.id)
    assert said() is None


def test_one_takes_the_place_of_the_one_before(backend, admin, said):
    first = notices.set_notice(backend, admin, "one", None)

    notices.set_notice(backend, admin, "two", first.id)

    assert said() == "two"


def test_who_has_not_seen_what_is_there_changes_nothing(backend, admin, said, row_counts):
    first = notices.set_notice(backend, admin, "one", None)
    second = notices.set_notice(backend, admin, "two", first.id)
    before = row_counts()

    for late in (None, first.id, second.id + 1):
        with pytest.raises(Conflict):
            notices.set_notice(backend, admin, "three", late)
    for late in (first.id, second.id + 1):
        with pytest.raises(Conflict):
            notices.end_notice(backend, admin, late)

    assert said() == "two"
    assert row_counts() == before


@pytest.mark.parametrize("text", ["", " \n ", "x" * 2001, "a\0b", "a\u202eb", "\x1b[31mred"])
def test_what_is_no_text_is_refused(backend, admin, said, text):
    with pytest.raises(BadInput) as refused:
        notices.set_notice(backend, admin, text, None)

    assert [error.field for error in refused.value.errors] == ["text"]
    assert said() is None


def test_only_administrators_have_something_to_say(backend, admin, owner, said):
    notice = notices.set_notice(backend, admin, "one", None)

    with pytest.raises(NotFound):
        notices.set_notice(backend, owner, "two", notice.id)
    with pytest.raises(NotFound):
        notices.end_notice(backend, owner, notice.id)

    assert said() == "one"
