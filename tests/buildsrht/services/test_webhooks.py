"""Users' webhooks: whose they are, who sees them, and what they are told."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from buildsrht.errors import BadInput, Conflict, FieldError, Forbidden, NotFound
from buildsrht.models import (
    Delivery,
    JobEvent,
    JobStatus,
    OAuthClient,
    OAuthGrant,
    TaskStatus,
    Token,
    User,
    Webhook,
)
from buildsrht.services import jobs, runs, tokens, triggers, webhooks
from tests.build_host import claim, finish

URL = "https://example.org/hook"
QUERY = "{ webhook { uuid } }"
RUNNER = "host-1"


@dataclass(frozen=True)
class Bearer:
    user: User
    scopes: tuple[str, ...] = ("JOBS:RW", "LOGS:RO")
    client_id: int | None = None
    token_id: int | None = None


@pytest.fixture
def create(backend, owner):
    """A webhook that is fine, unless a test says otherwise: `create(url=...)`."""

    def make(bearer=None, *, url=URL, events=("JOB_CREATED",), query=QUERY, check=lambda _: None):
        return webhooks.create_webhook(
            backend, bearer or Bearer(owner), url, list(events), query, check
        )

    return make


@pytest.fixture
def program(backend, stranger, owner):
    """A program of a stranger's that the owner has allowed something: its id."""

    def make(*scopes):
        client = OAuthClient(
            owner_id=stranger.id, name="Dashboard", redirect_uris=["https://example.org/"]
        )
        with backend.transaction() as session:
            session.add(client)
            session.flush()
            session.add(OAuthGrant(user_id=owner.id, client_id=client.id, scopes=list(scopes)))
        return client.id

    return make


@pytest.fixture
def revoke(backend):
    """Take back what a program was allowed."""

    def take(client_id):
        with backend.transaction() as session:
            session.execute(
                update(OAuthGrant)
                .where(OAuthGrant.client_id == client_id)
                .values(revoked=func.now())
            )

    return take


@pytest.fixture
def owed(backend):
    """Every delivery, in the order in which it came to be owed."""

    def read():
        with backend.transaction() as session:
            return session.scalars(select(Delivery).order_by(Delivery.id)).all()

    return read


@pytest.fixture
def occasions(backend, owed):
    """What each of them is about, as a courier finds it."""

    def read():
        return [triggers.claim(backend, row.id).occasion for row in owed()]

    return read


# --- making one -----------------------------------------------------------------------------------


def test_a_webhook_keeps_what_its_token_is_good_for_as_far_as_queries_need_it(create, owner):
    webhook = create(Bearer(owner, ("jobs:write", "SECRETS:RW")), events=["JOB_UPDATED"])

    assert (webhook.owner.name, webhook.client, webhook.url) == ("owner", None, URL)
    assert (webhook.events, webhook.query) == (["JOB_UPDATED"], QUERY)
    assert webhook.scopes == ["JOBS:RO", "LOGS:RO", "SECRETS:RO"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "must begin with https:// or http://"),
        ("example.org/hook", "must begin with https:// or http://"),
        ("https:///hook", "must name a host"),
        ("https://example.org:0/", "is not a valid URL"),
        ("https://exa mple.org/", "may not contain whitespace"),
        ("", "must have 1 to 2,048 characters, not 0"),
    ],
)
def test_a_url_is_one_of_the_web_with_a_host(create, url, reason):
    with pytest.raises(BadInput) as refused:
        create(url=url)
    assert refused.value.errors == (FieldError("url", reason),)


def test_every_problem_is_told_and_nothing_is_stored(create, row_counts):
    def refuse(query):
        raise BadInput([FieldError("query", f"{query} is no query")])

    create()
    before = row_counts()
    with pytest.raises(BadInput) as refused:
        create(url="x", events=["JOB_CREATED", "JOB_CREATED"], query="?", check=refuse)
    assert refused.value.errors == (
        FieldError("url", "must begin with https:// or http://"),
        FieldError("events", "JOB_CREATED is there twice"),
        FieldError("query", "? is no query"),
    )
    with pytest.raises(BadInput, match="events: needs at least one of JOB_CREATED, JOB_UPDATED"):
        create(events=[])
    assert row_counts() == before


def test_nobody_has_more_than_a_certain_number(create, stranger, monkeypatch):
    monkeypatch.setattr(webhooks, "MOST", 3)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: _outcome(create), range(8)))
    assert (made.count(None), made.count(Conflict)) == (3, 5)
    create(Bearer(stranger))


def _outcome(create):
    try:
        create()
    except Conflict as error:
        return type(error)


def test_a_build_makes_none_and_deletes_none(create, backend, owner, make_job):
    job = make_job("queued")
    run = claim(backend, job.id, RUNNER)
    tokens.create_job_token(backend, run, ["JOBS:RW"])
    with backend.transaction() as session:
        build = Bearer(owner, token_id=session.scalar(select(Token.id)))

    webhook = create()
    with pytest.raises(Forbidden, match="the token of job 1 is not good for webhooks"):
        create(build)
    with pytest.raises(Forbidden, match="the token of job 1"):
        webhooks.delete_webhook(backend, build, webhook.id)


# --- who sees it ----------------------------------------------------------------------------------


@pytest.fixture
def seen(backend):
    """The ids that a bearer finds, from `start` on."""

    def read(bearer, start=None, count=99):
        with backend.transaction() as session:
            return [row.id for row in webhooks.list_webhooks(session, bearer, start, count)]

    return read


def test_a_list_is_newest_first_and_begins_anywhere(create, owner, seen):
    for _ in range(3):
        create()
    assert seen(Bearer(owner)) == [3, 2, 1]
    assert seen(Bearer(owner), start=2, count=1) == [2]


def test_a_program_sees_its_own_and_the_user_sees_all(create, owner, program, seen, backend):
    mine, other = program("JOBS:RO"), program("JOBS:RO")
    create()
    create(Bearer(owner, client_id=mine))
    create(Bearer(owner, client_id=other))

    assert seen(Bearer(owner)) == [3, 2, 1]
    assert seen(Bearer(owner, client_id=mine)) == [2]
    for webhook_id in (1, 3):
        with pytest.raises(NotFound, match=f"there is no webhook {webhook_id}"):
            webhooks.delete_webhook(backend, Bearer(owner, client_id=mine), webhook_id)
    assert webhooks.delete_webhook(backend, Bearer(owner, client_id=mine), 2).id == 2
    assert seen(Bearer(owner)) == [3, 1]


@pytest.mark.parametrize("name", ["stranger", "admin"])
def test_another_users_is_not_there(create, request, name, seen, backend):
    create()
    other = Bearer(request.getfixturevalue(name))
    assert seen(other) == []
    with pytest.raises(NotFound, match="there is no webhook 1"):
        webhooks.delete_webhook(backend, other, 1)


def test_what_it_is_told_is_for_tokens_that_might_see_that(create, owner):
    webhook = create(Bearer(owner, ("JOBS:RW", "LOGS:RO", "SECRETS:RO")))
    webhooks.insist_on_grants(webhook, Bearer(owner, ("JOBS:RO", "LOGS:RO", "SECRETS:RW")))
    with pytest.raises(Forbidden, match="webhook 1 is told is for tokens with LOGS:RO, SECRETS:RO"):
        webhooks.insist_on_grants(webhook, Bearer(owner, ("JOBS:RW",)))


# --- what it is owed ------------------------------------------------------------------------------


def test_what_waits_goes_with_the_webhook(create, owner, make_job, owed, backend):
    create()
    kept = create()
    make_job()
    errand = triggers.claim(backend, 1)
    replayed = triggers.claim(backend, 2)
    triggers.settle(backend, replayed.delivery, triggers.Attempt(triggers.Verdict.DELIVERED))
    for _ in range(2):
        triggers.replay(backend, 2, owner)

    webhooks.delete_webhook(backend, Bearer(owner), 1)
    # That one was being attempted.
    assert not triggers.keep_payload(backend, errand.delivery, "{}")
    triggers.settle(backend, errand.delivery, triggers.Attempt(triggers.Verdict.DELIVERED))
    assert [row.webhook_id for row in owed()] == [kept.id] * 3

    webhooks.delete_webhook(backend, Bearer(owner), kept.id)
    assert owed() == []


def test_one_that_is_being_deleted_holds_up_no_job(create, make_job, owed, backend):
    create()
    kept = create()
    with Session(backend.engine) as session, session.begin():
        session.execute(delete(Webhook).where(Webhook.id == 1))
        make_job()
    assert [row.webhook_id for row in owed()] == [kept.id]


def test_one_that_was_made_while_its_program_lost_all_grants_sees_nothing(
    create, owner, program, revoke, make_job, occasions
):
    client_id = program("JOBS:RO")
    create(Bearer(owner, client_id=client_id))
    make_job()
    revoke(client_id)
    assert [occasion.scopes for occasion in occasions()] == [()]


def test_a_program_sees_what_it_may_see_now(create, owner, program, make_job, occasions):
    client_id = program("JOBS:RO", "PROFILE:RW")
    bearer = Bearer(owner, ("JOBS:RO", "LOGS:RO", "PROFILE:RO"), client_id)
    create(bearer)
    make_job()
    assert [occasion.scopes for occasion in occasions()] == [("JOBS:RO", "PROFILE:RO")]


def test_what_anybody_else_made_outlasts_the_token(
    create, owner, token, backend, make_job, occasions
):
    text = token(owner, "JOBS:RO")
    with backend.transaction() as session:
        token_id = tokens.find_token(session, text).id
    create(Bearer(owner, ("JOBS:RO",), token_id=token_id))
    tokens.revoke_token(backend, text)
    make_job()
    assert [occasion.scopes for occasion in occasions()] == [("JOBS:RO",)]


# --- what it is told ------------------------------------------------------------------------------


def states(occasion):
    job = occasion.payload.job
    return job.status, [task.status for task in job.tasks]


def test_each_event_shows_the_states_of_its_moment(create, make_job, backend, occasions, owed):
    create(events=["JOB_CREATED", "JOB_UPDATED"])
    job = make_job("queued")
    run = claim(backend, job.id, RUNNER)
    first, second = (task.id for task in job.tasks)
    runs.move_run_task(backend, run, first, TaskStatus.RUNNING)
    runs.move_run_task(backend, run, first, TaskStatus.SUCCESS)
    runs.move_run_task(backend, run, second, TaskStatus.RUNNING)
    finish(backend, run, JobStatus.TIMEOUT)

    told = occasions()

    assert [states(occasion) for occasion in told] == [
        ("queued", ["pending", "pending"]),
        ("running", ["pending", "pending"]),
        ("running", ["running", "pending"]),
        ("running", ["success", "pending"]),
        ("running", ["success", "running"]),
        ("timeout", ["success", "running"]),
        ("timeout", ["success", "failed"]),
    ]
    assert [occasion.payload.event for occasion in told] == ["JOB_CREATED"] + ["JOB_UPDATED"] * 6
    assert [occasion.payload.uuid for occasion in told] == [row.uuid for row in owed()]
    assert all(task.job is told[0].payload.job for task in told[0].payload.job.tasks)


def test_what_happened_before_there_were_events_has_happened(create, make_job, backend, occasions):
    create(events=["JOB_UPDATED"])
    job = make_job("queued")
    run = claim(backend, job.id, RUNNER)
    runs.move_run_task(backend, run, job.tasks[0].id, TaskStatus.RUNNING)
    runs.move_run_task(backend, run, job.tasks[0].id, TaskStatus.SUCCESS)
    with backend.transaction() as session:
        session.execute(delete(JobEvent))
    runs.move_run_task(backend, run, job.tasks[1].id, TaskStatus.RUNNING)
    [occasion] = occasions()
    assert states(occasion) == ("running", ["success", "running"])


def test_nothing_of_that_is_written(create, make_job, backend, occasions, fetch):
    create()
    make_job("success")
    [occasion] = occasions()
    assert states(occasion)[0] == "queued"
    assert fetch(1).status == "success"


def test_a_change_of_the_settings_is_an_update(create, make_job, owner, backend, occasions):
    create(events=["JOB_UPDATED"])
    make_job("queued")
    jobs.update_job(backend, 1, owner, tags=["other"])
    [occasion] = occasions()
    assert (occasion.payload.event, occasion.payload.job.tags) == ("JOB_UPDATED", ["other"])


def test_a_webhook_is_never_an_administrator(create, admin, make_job, occasions):
    create(Bearer(admin))
    make_job(user=admin)
    [occasion] = occasions()
    assert (occasion.user.id, occasion.user.admin) == (admin.id, False)


# --- samples --------------------------------------------------------------------------------------


def test_a_sample_is_the_latest_event_of_the_latest_job(create, make_job, backend, row_counts):
    webhook = create()
    make_job("failed")
    make_job("success")
    before = row_counts()

    created = webhooks.sample(backend, webhook, "JOB_CREATED")
    updated = webhooks.sample(backend, webhook, "JOB_UPDATED")

    assert [each.payload.job.id for each in (created, updated)] == [2, 2]
    assert [each.payload.event for each in (created, updated)] == ["JOB_CREATED", "JOB_UPDATED"]
    assert [states(each)[0] for each in (created, updated)] == ["queued", "success"]
    assert {each.payload.uuid for each in (created, updated)} == {UUID(int=0)}
    assert row_counts() == before


def test_a_job_without_such_an_event_is_shown_as_it_is(create, make_job, backend):
    webhook = create()
    job = make_job("queued")
    payload = webhooks.sample(backend, webhook, "JOB_UPDATED").payload
    assert (payload.event, payload.job.id) == ("JOB_UPDATED", job.id)
    assert (payload.job.status, payload.date) == ("queued", job.updated)


@pytest.mark.parametrize(
    ("event", "status"), [("JOB_CREATED", "queued"), ("JOB_UPDATED", "running")]
)
def test_without_a_job_one_is_made_up(
    create, stranger, make_job, backend, row_counts, event, status
):
    webhook = create()
    make_job(user=stranger)
    before = row_counts()

    payload = webhooks.sample(backend, webhook, event).payload

    assert (payload.event, payload.job.id, payload.job.status) == (event, 0, status)
    assert payload.job.note == "This job is made up: you have none yet."
    assert payload.job.owner.name == "owner"
    assert jobs.read_manifest(backend.catalogue, payload.job.manifest)
    assert row_counts() == before
