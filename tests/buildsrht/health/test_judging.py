"""What was seen, and whether the service is well with that."""

from dataclasses import replace

import pytest

from buildsrht.health.judging import judge
from buildsrht.health.looking import Service, Vitals, Waiting
from buildsrht.queue import Slots
from buildsrht.services.waiting import WaitCode

SERVICE = Service(
    janitor_silent=1.5,
    active=2,
    silent=0,
    waiting=(),
    late_deliveries=False,
    late_pushes=False,
)
WELL = Vitals(SERVICE, Slots(4, 1, 0), storage=True)


def of_service(**facts):
    return replace(WELL, service=replace(SERVICE, **facts))


def waiting(*jobs):
    return of_service(waiting=tuple(Waiting(seconds, frozenset(why)) for seconds, why in jobs))


def test_who_misses_nothing_is_ok():
    assert judge(WELL) == ("ok", ())


@pytest.mark.parametrize(
    ("vitals", "code"),
    [
        (replace(WELL, service=None), "DATABASE_AWAY"),
        (replace(WELL, slots=None), "QUEUE_AWAY"),
        (replace(WELL, storage=None), "STORAGE_AWAY"),
        (of_service(active=0), "NO_HOST"),
        (replace(WELL, slots=Slots(0, 0, 0)), "NO_HOST"),
        (replace(WELL, slots=Slots(4, 0, 4)), "HOSTS_PAUSED"),
    ],
)
def test_without_what_every_job_needs_it_is_failing(vitals, code):
    verdict, reasons = judge(vitals)
    assert verdict == "failing"
    assert [reason.code for reason in reasons] == [code]


@pytest.mark.parametrize(
    ("vitals", "code"),
    [
        (replace(WELL, slots=Slots(4, 1, 2)), "SLOTS_PAUSED"),
        (of_service(silent=1), "HOST_SILENT"),
        (of_service(janitor_silent=None), "NO_JANITOR"),
        (of_service(janitor_silent=31.0), "NO_JANITOR"),
        (waiting((61.0, set())), "JOB_STUCK"),
        (waiting((1.0, {WaitCode.NO_FITTING_HOST})), "NO_FITTING_HOST"),
        (waiting((90.0, {WaitCode.LIMIT}), (61.0, set())), "JOB_STUCK"),
        (of_service(late_deliveries=True), "DELIVERIES_LATE"),
        (of_service(late_pushes=True), "PUSHES_LATE"),
    ],
)
def test_where_something_is_not_done_it_is_degraded(vitals, code):
    verdict, reasons = judge(vitals)
    assert verdict == "degraded"
    assert [reason.code for reason in reasons] == [code]


@pytest.mark.parametrize("why", [WaitCode.HOSTS_BUSY, WaitCode.IN_QUEUE, WaitCode.LIMIT])
def test_who_waits_for_a_turn_is_no_reason(why):
    assert judge(waiting((3600.0, {why}))).verdict == "ok"


def test_all_reasons_are_told_and_the_worst_decides():
    vitals = replace(of_service(silent=1, late_pushes=True), storage=None)
    verdict, reasons = judge(vitals)
    assert verdict == "failing"
    assert [reason.code for reason in reasons] == ["STORAGE_AWAY", "HOST_SILENT", "PUSHES_LATE"]
