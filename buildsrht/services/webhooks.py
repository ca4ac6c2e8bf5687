"""Users' webhooks: where to post what, whenever something happens to a job of theirs.

What is posted is what a query finds, and queries are nothing that services know: whoever makes a
webhook brings along what checks its query, and the courier asks it. buildsrht.events writes down
what webhooks are owed. A webhook is its owner's, whatever becomes of the token that it was made
with. One that a program has made is shown to that program and to the owner, sees what the owner
lets the program see now, and goes with the last that the program was granted (services.grants).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, FieldError, Forbidden, NotFound
from buildsrht.events import JOB_CREATED, WEBHOOK_EVENTS, webhook_event
from buildsrht.manifest.texts import LONGEST_URL, split_url, word
from buildsrht.models import (
    Delivery,
    EventKind,
    Job,
    JobEvent,
    JobStatus,
    OAuthGrant,
    Task,
    TaskStatus,
    Token,
    User,
    Visibility,
    Webhook,
)
from buildsrht.services.scopes import granted
from buildsrht.services.users import lock_user

# Of one user. Each event costs as many evaluations.
MOST = 50
# What a made-up event is known by.
SAMPLE = UUID(int=0)


class Bearer(Protocol):
    """Who acts, by which token, and for which program, if it is one's."""

    @property
    def user(self) -> User: ...
    @property
    def scopes(self) -> tuple[str, ...]: ...
    @property
    def client_id(self) -> int | None: ...
    @property
    def token_id(self) -> int | None: ...


# --- what users do ----------------------------------------------------------------------------


def create_webhook(
    backend: Backend,
    bearer: Bearer,
    url: str,
    events: Sequence[str],
    query: str,
    check_query: Callable[[str], None],
) -> Webhook:
    """A new webhook of the bearer's. It keeps what their token is good for, as far as queries need
    that.

    Raises BadInput with every problem, `check_query`'s among them, and Conflict when the user has
    as many as anybody may have.
    """
    _check(url, events, query, check_query)
    with backend.transaction() as session:
        insist_on_person(session, bearer)
        lock_user(session, bearer.user)
        has = select(func.count()).where(Webhook.owner_id == bearer.user.id)
        if (session.scalar(has) or 0) >= MOST:
            raise Conflict(f"you have {MOST} webhooks, and nobody may have more")
        webhook = Webhook(
            owner_id=bearer.user.id,
            client_id=bearer.client_id,
            scopes=sorted(grant for grant in granted(bearer.scopes) if grant.endswith(":RO")),
            events=list(events),
            url=url,
            query=query,
        )
        session.add(webhook)
        session.flush()
        session.refresh(webhook)
    return webhook


def _check(url: str, events: Sequence[str], query: str, check_query: Callable[[str], None]) -> None:
    problems: list[FieldError] = []
    try:
        split_url(word(url, longest=LONGEST_URL), ("https", "http"))
    except ValueError as unfit:
        problems.append(FieldError("url", str(unfit)))
    if not events:
        problems.append(FieldError("events", f"needs at least one of {', '.join(WEBHOOK_EVENTS)}"))
    problems += [
        FieldError("events", f"{event} is there twice")
        for event in sorted(set(events))
        if events.count(event) > 1
    ]
    try:
        check_query(query)
    except BadInput as bad:
        problems += bad.errors
    if problems:
        raise BadInput(problems)


def insist_on_person(session: Session, bearer: Bearer) -> None:
    """Raise Forbidden if the bearer is a build: what a webhook is told would outlast its job."""
    token = session.get(Token, bearer.token_id) if bearer.token_id is not None else None
    if token is not None and token.job_id is not None:
        raise Forbidden(f"the token of job {token.job_id} is not good for webhooks")


def list_webhooks(
    session: Session, bearer: Bearer, start: int | None, count: int
) -> Sequence[Webhook]:
    """Those that the bearer sees, newest first, from id `start` downwards."""
    seen = select(Webhook).where(*_seen_by(bearer))
    if start is not None:
        seen = seen.where(Webhook.id <= start)
    return session.scalars(seen.order_by(Webhook.id.desc()).limit(count)).all()


def require_webhook(session: Session, bearer: Bearer, webhook_id: int) -> Webhook:
    """A webhook that the bearer sees; for everybody else there is none, administrators included:
    what a receiver answers is for whoever chose the receiver."""
    webhook = session.scalar(select(Webhook).where(Webhook.id == webhook_id, *_seen_by(bearer)))
    if webhook is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    return webhook


def _seen_by(bearer: Bearer) -> list[ColumnElement[bool]]:
    own = [Webhook.owner_id == bearer.user.id]
    return own if bearer.client_id is None else [*own, Webhook.client_id == bearer.client_id]


def delete_webhook(backend: Backend, bearer: Bearer, webhook_id: int) -> Webhook:
    """Forget a webhook and all of its deliveries; those that wait are not made any more."""
    with backend.transaction() as session:
        insist_on_person(session, bearer)
        webhook = require_webhook(session, bearer, webhook_id)
        session.delete(webhook)
    return webhook


def list_deliveries(
    session: Session, webhook_id: int, start: int | None, count: int
) -> Sequence[Delivery]:
    """What a webhook was told and is to be told, newest first, from id `start` downwards."""
    own = select(Delivery).where(Delivery.webhook_id == webhook_id)
    if start is not None:
        own = own.where(Delivery.id <= start)
    newest = own.options(joinedload(Delivery.event)).order_by(Delivery.id.desc())
    return session.scalars(newest.limit(count)).all()


def insist_on_grants(webhook: Webhook, bearer: Bearer) -> None:
    """Raise Forbidden unless the bearer might see for themselves whatever this webhook is told."""
    missing = granted(webhook.scopes) - granted(bearer.scopes)
    if missing:
        raise Forbidden(
            f"what webhook {webhook.id} is told is for tokens with {', '.join(sorted(missing))}"
        )


# --- what a webhook is told -------------------------------------------------------------------


@dataclass(frozen=True)
class Payload:
    """What a query may ask about: an event, and the job in the state that it was in then."""

    uuid: UUID
    event: str
    date: datetime
    job: Job


@dataclass(frozen=True)
class Occasion:
    """A webhook, what has happened, and what it may see of that.

    `user` is its owner, but never an administrator: nobody looks at what is sent. `scopes` is empty
    when its owner lets the program that made it do nothing any more.
    """

    webhook: Webhook
    payload: Payload
    user: User
    scopes: tuple[str, ...]


def occasion_of(session: Session, delivery: Delivery, job: Job) -> Occasion:
    """What a delivery to a webhook is about. `job` is its job, and is the event's from now on."""
    webhook = session.get_one(Webhook, delivery.webhook_id)
    event = session.get_one(JobEvent, delivery.event_id)
    return _occasion(session, webhook, _payload(session, delivery.uuid, event, job))


def sample(backend: Backend, webhook: Webhook, event: str) -> Occasion:
    """One that might be: the latest such event of the owner's latest job, that job as it is if
    there was none, and a job that is made up if there is no job."""
    with backend.transaction() as session:
        newest = select(Job).where(Job.owner_id == webhook.owner_id).order_by(Job.id.desc())
        job = session.scalar(newest.limit(1))
        if job is None:
            job = _made_up_job(backend, webhook.owner, event)
            return _occasion(session, webhook, Payload(SAMPLE, event, job.created, job))
        is_creation = JobEvent.kind == EventKind.CREATED
        latest = session.scalar(
            select(JobEvent)
            .where(JobEvent.job_id == job.id, is_creation == (event == JOB_CREATED))
            .order_by(JobEvent.id.desc())
            .limit(1)
        )
        payload = (
            _payload(session, SAMPLE, latest, job)
            if latest
            else Payload(SAMPLE, event, job.updated, job)
        )
        return _occasion(session, webhook, payload)


def _occasion(session: Session, webhook: Webhook, payload: Payload) -> Occasion:
    owner = webhook.owner
    user = User(id=owner.id, created=owner.created, name=owner.name, admin=False)
    return Occasion(webhook, payload, user, _scopes_now(session, webhook))


def _scopes_now(session: Session, webhook: Webhook) -> tuple[str, ...]:
    if webhook.client_id is None:
        return tuple(webhook.scopes)
    living = session.scalars(
        select(OAuthGrant.scopes).where(
            OAuthGrant.client_id == webhook.client_id,
            OAuthGrant.user_id == webhook.owner_id,
            OAuthGrant.revoked.is_(None),
        )
    )
    allowed = granted(scope for scopes in living for scope in scopes)
    return tuple(scope for scope in webhook.scopes if scope in allowed)


def _payload(session: Session, uuid: UUID, event: JobEvent, job: Job) -> Payload:
    """Puts the job and its tasks back into the states that they were in: what happened since has
    events of its own."""
    states: dict[int | None, TaskStatus | None] = {}
    happened = session.execute(
        select(JobEvent.id, JobEvent.task_id, JobEvent.task_status)
        .where(JobEvent.job_id == job.id, JobEvent.kind == EventKind.TASK)
        .order_by(JobEvent.id)
    )
    for event_id, task_id, status in happened:
        if event_id <= event.id:
            states[task_id] = status
        else:
            states.setdefault(task_id, TaskStatus.PENDING)
    # As if they had been read so: nothing here is ever written.
    set_committed_value(job, "status", event.status)
    for task in job.tasks:
        set_committed_value(task, "status", states.get(task.id, task.status))
        set_committed_value(task, "job", job)
    return Payload(uuid, webhook_event(event.kind), event.created, job)


def _made_up_job(backend: Backend, owner: User, event: str) -> Job:
    names = backend.catalogue.names
    image = names[0] if names else "debian/trixie"
    is_new = event == JOB_CREATED
    times: dict[str, Any] = {"created": owner.created, "updated": owner.created}
    task = TaskStatus.PENDING if is_new else TaskStatus.RUNNING
    return Job(
        id=0,
        owner_id=owner.id,
        owner=owner,
        manifest=f"image: {image}\ntasks:\n- build: make\n",
        image=image,
        arch="amd64",
        note="This job is made up: you have none yet.",
        tags=["made-up"],
        visibility=Visibility.UNLISTED,
        secrets=False,
        status=JobStatus.QUEUED if is_new else JobStatus.RUNNING,
        attempt=0 if is_new else 1,
        triggers=[],
        plan={},
        tasks=[Task(id=0, job_id=0, position=0, name="build", status=task, **times)],
        **times,
    )
