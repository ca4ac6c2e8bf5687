"""One attempt at a time, again and again until it is delivered or its time is over."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select, update

from buildsrht.errors import Conflict, NotFound
from buildsrht.models import Delivery, DeliveryStatus
from buildsrht.queue import DELIVERY_SECONDS
from buildsrht.services import triggers
from buildsrht.services.triggers import LEASE, Attempt, Verdict, pause

TRIGGER = {"action": "webhook", "condition": "always", "url": "https://example.org/"}


@pytest.fixture
def delivery(make_job):
    """Delivery 1, of job 1, which succeeded."""
    text = {"image": "debian/trixie", "tasks": [{"build": "x"}], "triggers": [TRIGGER]}
    make_job("success", manifest=json.dumps(text))


@pytest.fixture
def now(backend):
    """Delivery `id` as it is in the database, and the database's clock."""

    def fetch(delivery_id=1):
        with backend.transaction() as session:
            row = session.get_one(Delivery, delivery_id)
            row.now = session.scalar(select(func.now()))
            return row

    return fetch


@pytest.fixture
def change(backend):
    """Change columns of every delivery, such as its times."""

    def write(**columns):
        with backend.transaction() as session:
            session.execute(update(Delivery).values(**columns))

    return write


def attempt(backend, verdict, **record):
    errand = triggers.claim(backend, 1)
    triggers.settle(backend, errand.delivery, Attempt(verdict, **record))


# --- attempts -------------------------------------------------------------------------------------


def test_a_claim_holds_all_that_is_told(delivery, backend):
    errand = triggers.claim(backend, 1)
    assert (errand.delivery.trigger, errand.delivery.attempts) == (TRIGGER, 1)
    assert ([job.id for job in errand.jobs], errand.group, errand.status) == ([1], None, "success")
    assert [task.name for task in errand.jobs[0].tasks] == ["build"]
    assert errand.jobs[0].owner.name == "owner"


def test_of_many_couriers_one_gets_it(delivery, backend):
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: triggers.claim(backend, 1), range(16)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_flood_of_one_users_keeps_nobody_elses_waiting(make_job, backend, stranger):
    text = {"image": "debian/trixie", "tasks": [{"build": "x"}], "triggers": [TRIGGER] * 16}
    for _ in range(2):
        make_job("success", manifest=json.dumps(text))
    make_job("success", manifest=json.dumps({**text, "triggers": [TRIGGER] * 2}), user=stranger)

    going = [triggers.claim_next(backend).delivery.owner_id for _ in range(4)]

    # As many of the one as of the other, while both have something to do.
    assert sorted(going) == sorted([1, 1, stranger.id, stranger.id])
    assert [triggers.claim_next(backend).delivery.owner_id for _ in range(30)] == [1] * 30
    assert triggers.claim_next(backend) is None


def test_what_one_user_waits_for_longest_goes_first(make_job, backend, change):
    text = {"image": "debian/trixie", "tasks": [{"build": "x"}], "triggers": [TRIGGER] * 3}
    make_job("success", manifest=json.dumps(text))
    change(due=func.now() - Delivery.id * timedelta(seconds=1))
    assert [triggers.claim_next(backend).delivery.id for _ in range(3)] == [3, 2, 1]


def test_of_many_couriers_each_gets_another(make_job, backend):
    text = {"image": "debian/trixie", "tasks": [{"build": "x"}], "triggers": [TRIGGER] * 16}
    make_job("success", manifest=json.dumps(text))
    with ThreadPoolExecutor(8) as threads:
        claims = list(threads.map(lambda _: triggers.claim_next(backend), range(16)))
    assert sorted(claim.delivery.id for claim in claims) == list(range(1, 17))


def test_a_lease_is_longer_than_rq_lets_an_attempt_live():
    rq_insists_after = 60
    assert DELIVERY_SECONDS + rq_insists_after < LEASE.total_seconds()


def test_no_pause_is_as_long_as_a_lease(monkeypatch):
    """By its length an attempt that goes on is told from a pause."""
    for attempts in range(1, 20):
        monkeypatch.setattr(triggers.random, "uniform", min)
        shortest = pause(attempts)
        monkeypatch.setattr(triggers.random, "uniform", max)
        assert not shortest <= LEASE <= pause(attempts)


def test_a_courier_that_is_killed_keeps_it_for_its_lease_and_no_longer(
    delivery, backend, now, change
):
    triggers.claim(backend, 1)
    assert timedelta() < now().due - now().now <= LEASE
    assert triggers.claim(backend, 1) is None

    change(due=func.now())

    assert triggers.claim(backend, 1).delivery.attempts == 2


def test_who_was_given_up_and_comes_back_changes_nothing(delivery, backend, now, change):
    lost = triggers.claim(backend, 1)
    change(due=func.now())
    triggers.claim(backend, 1)

    triggers.settle(backend, lost.delivery, Attempt(Verdict.DELIVERED))

    assert now().status == DeliveryStatus.WAITING


@pytest.mark.parametrize(
    ("verdict", "status"), [(Verdict.DELIVERED, "delivered"), (Verdict.NEVER, "abandoned")]
)
def test_what_is_delivered_or_cannot_be_is_not_tried_again(
    delivery, backend, now, change, verdict, status
):
    attempt(backend, verdict)
    change(due=func.now())
    assert now().status == status
    assert triggers.claim(backend, 1) is None


def test_the_last_attempt_is_on_record(delivery, backend, now):
    attempt(
        backend,
        Verdict.AGAIN,
        error="answered with status 500",
        request_headers={"A": "b"},
        request_body="{}",
        response_status=500,
        response_headers={"C": "d\0"},
        response_body="broken\0",
    )
    row = now()
    assert (row.error, row.request_headers, row.request_body) == (
        "answered with status 500",
        {"A": "b"},
        "{}",
    )
    assert (row.response_status, row.response_headers, row.response_body) == (
        500,
        {"C": "d\ufffd"},
        "broken\ufffd",
    )


def test_of_what_was_sent_the_beginning_is_on_record(delivery, backend, now):
    attempt(backend, Verdict.AGAIN, request_body="x" * 7_000_000)
    assert now().request_body == "x" * 65536


def test_the_next_attempt_comes_later_and_later(delivery, backend, now, change):
    waits = []
    for _ in range(4):
        change(due=func.now())
        attempt(backend, Verdict.AGAIN)
        waits.append((now().due - now().updated).total_seconds())
    for wait, longest in zip(waits, (5, 10, 20, 40), strict=True):
        assert 0.8 * longest <= wait <= longest


def test_a_pause_is_an_hour_at_most_and_never_twice_the_same():
    assert {pause(attempts) <= timedelta(hours=1) for attempts in (1, 11, 40, 10_000)} == {True}
    assert pause(40) >= timedelta(minutes=48)
    assert len({pause(40) for _ in range(20)}) > 1


def test_the_last_attempt_is_when_patience_ends_and_then_it_is_abandoned(
    delivery, backend, now, change
):
    change(expires=func.now() + timedelta(seconds=1), attempts=9)
    attempt(backend, Verdict.AGAIN, error="no answer")
    assert (now().status, now().due) == ("waiting", now().expires)

    change(expires=func.now(), due=func.now())
    attempt(backend, Verdict.AGAIN, error="no answer")

    assert (now().status, now().error) == ("abandoned", "no answer")


# --- what the janitor does ------------------------------------------------------------------------


def test_what_redis_lost_is_sent_again(delivery, backend):
    backend.redis.flushdb()
    assert triggers.requeue_due(backend) == [1]
    assert triggers.requeue_due(backend) == []
    assert backend.deliveries.enqueued_ids() == {1}


def test_what_is_not_due_is_left_alone(delivery, backend, change):
    backend.redis.flushdb()
    triggers.claim(backend, 1)
    assert triggers.requeue_due(backend) == []
    change(due=func.now())
    assert triggers.requeue_due(backend) == [1]


def test_what_is_settled_is_left_alone(delivery, backend):
    attempt(backend, Verdict.DELIVERED)
    backend.redis.flushdb()
    assert triggers.requeue_due(backend) == []


def remaining(backend):
    triggers.remove_old(backend)
    with backend.transaction() as session:
        return set(session.scalars(select(Delivery.id)))


@pytest.mark.parametrize("verdict", [Verdict.DELIVERED, Verdict.NEVER])
def test_what_was_settled_is_on_record_for_its_time_and_no_longer(
    delivery, backend, change, verdict
):
    attempt(backend, verdict)
    change(updated=func.now() - timedelta(days=90) + timedelta(minutes=1))
    assert remaining(backend) == {1}
    change(updated=func.now() - timedelta(days=90))
    assert remaining(backend) == set()


def test_what_is_still_tried_is_not_forgotten(delivery, backend, change):
    change(updated=func.now() - timedelta(days=1000))
    assert remaining(backend) == {1}


def test_what_was_replayed_is_on_record_as_long_as_its_replays(delivery, backend, owner, change):
    """Without it each of them would pass for the first delivery, of which there is one."""
    attempt(backend, Verdict.DELIVERED)
    for _ in range(2):
        triggers.replay(backend, 1, owner)
    change(updated=func.now() - timedelta(days=91))
    assert remaining(backend) == {1, 2, 3}
    change(status=DeliveryStatus.ABANDONED)
    assert remaining(backend) == {1}
    assert remaining(backend) == set()


# --- what the owner does --------------------------------------------------------------------------


def test_deliveries_are_listed_for_their_owner(delivery, backend, owner, stranger, make_job):
    make_job("success")
    with backend.transaction() as session:
        assert [row.id for row in triggers.list_deliveries(session, owner)] == [1]
        assert [row.id for row in triggers.list_deliveries(session, owner, job_id=1)] == [1]
        assert triggers.list_deliveries(session, owner, job_id=2) == []
        assert triggers.list_deliveries(session, stranger) == []


def test_a_list_goes_on_where_a_page_ends(delivery, backend, owner):
    attempt(backend, Verdict.DELIVERED)
    for _ in range(2):
        triggers.replay(backend, 1, owner)

    with backend.transaction() as session:
        listed = partial(triggers.list_deliveries, session, owner)
        assert [row.id for row in listed(count=2)] == [3, 2]
        assert [row.id for row in listed(start=2)] == [2, 1]


def test_a_delivery_is_its_owners_and_nobody_elses(delivery, backend, owner, stranger, admin):
    with backend.transaction() as session:
        assert triggers.require_delivery(session, 1, owner).id == 1
        for viewer, delivery_id in ((stranger, 1), (admin, 1), (owner, 2), (owner, 2**40)):
            with pytest.raises(NotFound, match=f"there is no delivery {delivery_id}"):
                triggers.require_delivery(session, delivery_id, viewer)


def test_a_replay_is_a_delivery_of_its_own(delivery, backend, owner, now):
    attempt(backend, Verdict.DELIVERED)
    backend.redis.flushdb()

    assert triggers.replay(backend, 1, owner) == 2

    before, after = now(1), now(2)
    assert (after.replay_of, after.status, after.attempts) == (1, "waiting", 0)
    assert (after.job_id, after.trigger, after.owner_id) == (1, TRIGGER, owner.id)
    assert after.uuid != before.uuid
    assert before.status == "delivered"
    assert backend.deliveries.enqueued_ids() == {2}


def test_what_is_still_tried_cannot_be_replayed(delivery, backend, owner, row_counts):
    before = row_counts()
    with pytest.raises(Conflict, match="delivery 1 is still waiting"):
        triggers.replay(backend, 1, owner)
    assert row_counts() == before


def test_others_cannot_replay_it(delivery, backend, stranger, row_counts):
    attempt(backend, Verdict.DELIVERED)
    before = row_counts()
    with pytest.raises(NotFound):
        triggers.replay(backend, 1, stranger)
    assert row_counts() == before
