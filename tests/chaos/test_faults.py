"""Every kind of fault has its turn, in an order that its seed decides."""

from collections import Counter

from chaos.__main__ import plan
from chaos.faults import FAULTS


def test_each_kind_comes_as_often_as_any_other():
    counted = Counter(plan(1, len(FAULTS) * 3, ()))
    assert counted == dict.fromkeys(FAULTS, 3)


def test_the_same_seed_makes_the_same_plan_and_another_another():
    assert plan(1, 60, ()) == plan(1, 60, ())
    assert plan(1, 60, ()) != plan(2, 60, ())


def test_only_what_is_asked_for_is_broken():
    assert set(plan(1, 5, ("Redis flushed",))) == {"Redis flushed"}
