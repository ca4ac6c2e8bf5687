"""What happens to jobs is written down with it, and so is what users' webhooks are owed."""

import pytest
from sqlalchemy import select

from buildsrht.models import Delivery, DeliveryStatus, JobEvent, JobStatus, TaskStatus, Webhook
from buildsrht.services import runs
from tests.build_host import claim, finish

RUNNER = "host-1"


@pytest.fixture
def make_webhook(backend):
    def make(user, *events):
        webhook = Webhook(
            owner_id=user.id,
            scopes=["JOBS:RO"],
            events=list(events),
            url="https://example.org/hook",
            query="{ webhook { uuid } }",
        )
        with backend.transaction() as session:
            session.add(webhook)
        return webhook

    return make


@pytest.fixture
def events(backend):
    """What happened to a job, as (kind, status, task's status, attempt)."""

    def read(job):
        with backend.transaction() as session:
            rows = session.scalars(
                select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.id)
            ).all()
        return [(row.kind, row.status, row.task_status, row.attempt) for row in rows]

    return read


@pytest.fixture
def owed(backend):
    def read():
        with backend.transaction() as session:
            return session.scalars(select(Delivery).order_by(Delivery.id)).all()

    return read


def test_a_job_that_is_queued_at_once_begins_with_one_event(make_job, events):
    assert events(make_job("queued")) == [("created", "queued", None, 0)]


def test_every_move_of_a_job_and_of_its_tasks_is_an_event(backend, make_job, events):
    job = make_job("queued")
    run = claim(backend, job.id, RUNNER)
    runs.move_run_task(backend, run, job.tasks[0].id, TaskStatus.RUNNING)
    finish(backend, run, JobStatus.FAILED)

    assert events(job) == [
        ("created", "queued", None, 0),
        ("status", "running", None, 1),
        ("task", "running", "running", 1),
        ("status", "failed", None, 1),
        ("task", "failed", "failed", 1),
    ]


def test_a_move_that_is_refused_is_none(backend, make_job, events):
    job = make_job("success")
    before = events(job)

    assert claim(backend, job.id, RUNNER) is None
    assert events(job) == before


def test_a_webhook_is_owed_each_event_that_it_is_for(backend, owner, make_webhook, make_job, owed):
    created, updated = make_webhook(owner, "JOB_CREATED"), make_webhook(owner, "JOB_UPDATED")
    job = make_job("queued")
    claim(backend, job.id, RUNNER)

    assert [(each.webhook_id, each.job_id, each.status) for each in owed()] == [
        (created.id, job.id, DeliveryStatus.WAITING),
        (updated.id, job.id, DeliveryStatus.WAITING),
    ]
    assert [each.trigger for each in owed()] == [
        {"action": "webhook", "url": "https://example.org/hook"}
    ] * 2


def test_what_is_owed_is_sent_on_its_way(backend, owner, make_webhook, make_job, owed):
    make_webhook(owner, "JOB_CREATED")
    make_job("queued")

    assert backend.deliveries.enqueued_ids() == {each.id for each in owed()}


def test_another_users_webhook_is_owed_nothing(stranger, make_webhook, make_job, owed):
    make_webhook(stranger, "JOB_CREATED", "JOB_UPDATED")
    make_job("success")

    assert owed() == []
