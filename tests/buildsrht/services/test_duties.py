"""One of many does what one has to do, and another when that one is gone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from buildsrht.models import Duty
from buildsrht.services import duties


@pytest.fixture
def hold(backend):
    return lambda holder: duties.hold(backend, "sweep", holder)


@pytest.fixture
def let_it_end(backend):
    """As if nobody had been heard of for a while."""

    def end():
        with backend.transaction() as session:
            past = func.now() - duties.HELD - timedelta(seconds=1)
            session.execute(update(Duty).values(until=past, since=past, heard=past))

    return end


def since(backend):
    with backend.transaction() as session:
        return session.scalar(select(Duty.since))


def test_who_comes_first_has_the_duty_and_keeps_it(hold):
    assert [hold("ann"), hold("ben"), hold("ann"), hold("ben")] == [True, False, True, False]


def test_of_many_that_come_at_once_one_has_it(hold):
    with ThreadPoolExecutor(8) as threads:
        held = list(threads.map(hold, [f"janitor-{n}" for n in range(8)]))
    assert sum(held) == 1


def test_who_is_not_heard_of_is_relieved(hold, let_it_end):
    hold("ann")
    let_it_end()
    assert [hold("ben"), hold("ann")] == [True, False]


def test_while_it_is_asked_for_without_a_gap_it_is_held_since_the_beginning(
    backend, hold, let_it_end
):
    hold("ann")
    begun = since(backend)
    hold("ann")
    assert since(backend) == begun
    let_it_end()
    hold("ann")
    assert since(backend) > begun


def test_who_asks_in_vain_has_heard_the_database_too(backend, hold):
    hold("ann")
    begun = since(backend)
    past = func.now() - duties.HELD - timedelta(seconds=1)
    with backend.transaction() as session:
        session.execute(update(Duty).values(heard=past, until=func.now() + duties.HELD))
        session.execute(update(Duty).values(heard=func.now()))
    assert not hold("ben")
    with backend.transaction() as session:
        session.execute(update(Duty).values(until=past))
    assert hold("ben")
    assert since(backend) == begun


def test_each_duty_is_held_by_itself(backend, hold):
    hold("ann")
    assert duties.hold(backend, "another", "ben")
