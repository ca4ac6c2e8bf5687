"""Hooks, which forges report to, and pushes, which are what they report.

A push is claimed like a job: one conditional UPDATE says who builds it and until when that is
believed; whoever comes back later changes nothing. What cannot be done now is done later, as often
as it takes, until the push expires.
"""

import base64
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from redis.exceptions import RedisError
from sqlalchemy import JSON, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, FieldError, NotFound
from buildsrht.models import Forge, Hook, Job, Push, PushStatus, User, Visibility
from buildsrht.queue import ERRAND_SECONDS
from buildsrht.services.sealing import credential_context, hold_keys, hook_context
from buildsrht.services.users import ensure_user, insist_on_active, lock_user

log = logging.getLogger(__name__)

PAGE = 50
# Of one user.
MOST = 100
SECRET_BYTES = 32
# Begins a secret that is a key, where a forge takes both.
SIGNING_KEY = "whsec_"
LONGEST_URL = 1024
# Plain enough to stand in Markdown, in YAML and on git's command line as it is.
REPOSITORY = re.compile(
    r"https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~%+-]+){2,}/?"
)
REASON_CHARACTERS = 2000
CREDENTIAL = re.compile(r"[!-9;-~]{1,255}:[!-~]{1,1024}")
# As long as a courier is believed to be at it, without news.
CLAIM = timedelta(seconds=ERRAND_SECONDS + 60)
# In which a hook may have [limits] pushes.
SHARE = timedelta(hours=1)
# A report that is sent again builds nothing for so long, as sourcehut has it with its nonces.
KEPT = timedelta(days=90)
SWEPT_AT_ONCE = 1000
# As for jobs: a push may be committed and not sent yet, or taken and not claimed yet.
QUEUE_SETTLE = timedelta(seconds=5)


@dataclass(frozen=True)
class NewHook:
    """What a user wants. `public_key` is for sourcehut only, which has one for all its hooks; the
    others get a secret."""

    forge: Forge
    repository: str
    visibility: Visibility = Visibility.UNLISTED
    pull_requests: bool = False
    credential: str | None = None
    public_key: str | None = None


@dataclass(frozen=True)
class HookSettings:
    """What can be changed of a hook. Without a new `credential` it keeps the one that it has, if it
    has one, unless it is to forget it."""

    visibility: Visibility
    pull_requests: bool
    credential: str | None = None
    forgets_credential: bool = False


# --- rules ------------------------------------------------------------------------------------


def check_repository(field: str, url: str) -> str:
    """The URL without a slash at its end, or BadInput."""
    url = url.rstrip("/")
    if len(url) > LONGEST_URL or not REPOSITORY.fullmatch(url) or not _is_possible(url):
        rule = "must be like https://host/owner/name, without a user, a query or a fragment"
        raise BadInput([FieldError(field, f"{url[:80]!r} {rule}")])
    return url


def _is_possible(url: str) -> bool:
    try:
        return urlsplit(url).port != 0 and not {".", "..", ".git"} & set(url.split("/"))
    except ValueError:  # a port beyond the last
        return False


# --- hooks ------------------------------------------------------------------------------------


def create_hook(backend: Backend, user: str, wanted: NewHook) -> tuple[Hook, str]:
    """A new hook, and what its reports are proven with, shown this once."""
    _check(wanted)
    proof = wanted.public_key or _new_secret(wanted.forge)
    hook = Hook(
        uuid=uuid4(),
        forge=wanted.forge,
        repository=check_repository("repository", wanted.repository),
        visibility=wanted.visibility,
        pull_requests=wanted.pull_requests,
    )
    with backend.transaction() as session:
        owner = ensure_user(session, user)
        _insist_on_room(session, owner)
        hold_keys(session)
        _seal_proof(backend, hook, proof)
        if wanted.credential:
            _seal_credential(backend, hook, wanted.credential)
        hook.owner_id = owner.id
        session.add(hook)
        session.flush()
        session.refresh(hook)
    return hook, proof


def _insist_on_room(session: Session, owner: User) -> None:
    lock_user(session, owner)
    has = session.scalar(select(func.count()).where(Hook.owner_id == owner.id)) or 0
    if has >= MOST:
        raise Conflict(f"{owner.canonical_name} has {MOST} hooks, and nobody may have more")


def _seal_proof(backend: Backend, hook: Hook, proof: str) -> None:
    hook.sealed = backend.keys.seal(proof.encode(), hook_context(hook))


def _seal_credential(backend: Backend, hook: Hook, credential: str) -> None:
    hook.credential = backend.keys.seal(credential.encode(), credential_context(hook))


def _check(wanted: NewHook) -> None:
    problems: list[FieldError] = []
    try:
        check_repository("repository", wanted.repository)
    except BadInput as bad:
        problems += bad.errors
    if wanted.forge == Forge.SOURCEHUT and not _is_public_key(wanted.public_key or ""):
        problems.append(FieldError("public_key", "sourcehut's, 32 bytes in base64, is needed"))
    if wanted.forge != Forge.SOURCEHUT and wanted.public_key:
        problems.append(FieldError("public_key", "only sourcehut has one; others get a secret"))
    is_private = wanted.credential is not None
    problems += _problems_of_requests(wanted.forge, wanted.pull_requests, is_private)
    problems += _problems_of_credential(wanted.credential)
    if problems:
        raise BadInput(problems)


def _problems_of_requests(forge: Forge, wanted: bool, is_private: bool) -> list[FieldError]:
    reasons = []
    if wanted and forge == Forge.SOURCEHUT:
        reasons.append("sourcehut has none")
    if wanted and is_private:
        reasons.append("a private repository has none: their jobs get no secret to clone it with")
    return [FieldError("pull_requests", reason) for reason in reasons]


def _problems_of_credential(text: str | None) -> list[FieldError]:
    if text is None or CREDENTIAL.fullmatch(text):
        return []
    return [FieldError("credential", "must be user:token, without spaces")]


def _is_public_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


def _new_secret(forge: Forge) -> str:
    """GitLab's is also a key, in the one form in which it takes one."""
    if forge == Forge.GITLAB:
        return SIGNING_KEY + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return secrets.token_urlsafe(SECRET_BYTES)


def hook_url(backend: Backend, hook: Hook) -> str:
    return f"{backend.config.web.origin}/hooks/{hook.uuid}"


def list_hooks(session: Session, user: str) -> Sequence[Hook]:
    return session.scalars(select(Hook).join(User).where(User.name == user).order_by(Hook.id)).all()


def change_hook(backend: Backend, user: str, uuid: UUID, settings: HookSettings) -> Hook:
    """Have a hook of `user`'s do otherwise from now on; what was reported before counts as well,
    unless its jobs are there already. Raises BadInput with every problem."""
    with backend.transaction() as session:
        hold_keys(session)
        hook = require_own_hook(session, user, uuid)
        keeps = hook.credential is not None and not settings.forgets_credential
        is_private = keeps or settings.credential is not None
        problems = [
            *_problems_of_requests(hook.forge, settings.pull_requests, is_private),
            *_problems_of_credential(settings.credential),
        ]
        if problems:
            raise BadInput(problems)
        hook.visibility = settings.visibility
        hook.pull_requests = settings.pull_requests
        if settings.credential is not None:
            _seal_credential(backend, hook, settings.credential)
        elif not keeps:
            hook.credential = None
        return hook


def renew_secret(backend: Backend, user: str, uuid: UUID) -> tuple[Hook, str]:
    """A new secret in place of the one before, which proves nothing from now on. Raises Conflict
    for sourcehut's, which has none."""
    with backend.transaction() as session:
        hold_keys(session)
        hook = require_own_hook(session, user, uuid)
        if hook.forge == Forge.SOURCEHUT:
            raise Conflict("what sourcehut reports is proven with its own key; there is no secret")
        secret = _new_secret(hook.forge)
        _seal_proof(backend, hook, secret)
        return hook, secret


def delete_hook(backend: Backend, user: str, uuid: UUID) -> None:
    """Forget a hook and all that was reported to it. Its jobs stay."""
    with backend.transaction() as session:
        session.delete(require_own_hook(session, user, uuid))


def require_own_hook(session: Session, user: str, uuid: UUID) -> Hook:
    """A hook of `user`'s; for everybody else there is none."""
    hook = require_hook(session, uuid)
    if hook.owner.name != user:
        raise NotFound(f"there is no hook {uuid}")
    return hook


def require_hook(session: Session, uuid: UUID) -> Hook:
    hook = session.scalar(select(Hook).where(Hook.uuid == uuid))
    if hook is None:
        raise NotFound(f"there is no hook {uuid}")
    return hook


def reveal_proof(backend: Backend, hook: Hook) -> str:
    """The secret, or for sourcehut the public key, that reports are proven with."""
    return backend.keys.unseal(hook.sealed, hook_context(hook)).decode()


def reveal_credential(backend: Backend, hook: Hook) -> bytes | None:
    if hook.credential is None:
        return None
    return backend.keys.unseal(hook.credential, credential_context(hook))


# --- pushes -----------------------------------------------------------------------------------


def receive(backend: Backend, hook: Hook, report_id: str, event: dict[str, Any]) -> Push | None:
    """Store what was reported, and tell the couriers. The same report again is the same push.

    None if the hook has had its share for now; then nothing is stored. Raises Forbidden if its
    owner is suspended.
    """
    insist_on_active(hook.owner)
    known = select(Push).where(Push.hook_id == hook.id, Push.report_id == report_id)
    fields = {
        "hook_id": hook.id,
        "report_id": report_id,
        "event": event,
        "status": PushStatus.WAITING,
        "expires": func.now() + timedelta(seconds=backend.config.courier.patience),
    }
    reported = insert(Push).values(fields).on_conflict_do_nothing().returning(Push.id)
    try:
        with backend.transaction() as session:
            if session.scalar(known) is None and _is_flooded(backend, session, hook, event):
                return None
            is_new = session.scalar(reported) is not None
            push = session.scalars(known).one()
    except IntegrityError:
        raise NotFound(f"there is no hook {hook.uuid}") from None
    if is_new:
        _enqueue(backend, push.id)
    return push


def _is_flooded(backend: Backend, session: Session, hook: Hook, event: dict[str, Any]) -> bool:
    """Pull requests count apart: strangers, who make those, shall not shut out pushes."""
    is_request = Push.event["request"] != JSON.NULL
    latest = session.scalars(
        select(Push.created)
        .where(
            Push.hook_id == hook.id,
            Push.created > func.now() - SHARE,
            is_request if event["request"] else ~is_request,
        )
        .limit(backend.config.limits.pushes)
    )
    return len(latest.all()) >= backend.config.limits.pushes


def _enqueue(backend: Backend, push_id: int) -> None:
    """Like a job's: if Redis is away, the janitor does it later."""
    try:
        backend.pushes.enqueue(push_id)
    except RedisError as error:
        log.warning("push %d waits but Redis is away: %s", push_id, error)


def list_pushes(
    session: Session,
    user: str,
    uuid: UUID | None,
    start: int | None = None,
    count: int = PAGE,
) -> Sequence[Push]:
    """What was reported to a user's hooks, or to one of them, newest first, from id `start`
    downwards."""
    found = select(Push).join(Hook).join(User).where(User.name == user)
    if uuid:
        found = found.where(Hook.uuid == uuid)
    if start is not None:
        found = found.where(Push.id <= start)
    return session.scalars(found.order_by(Push.id.desc()).limit(count)).all()


# --- what the courier asks --------------------------------------------------------------------


def claim_push(backend: Backend, push_id: int) -> Push | None:
    """Make a push that is due ours for a while, or None if it is not due or somebody else's.

    One whose time is over fails instead; the last attempt has said why.
    """
    with backend.transaction() as session:
        due = (Push.id == push_id, Push.status == PushStatus.WAITING, Push.due <= func.now())
        expired = update(Push).where(*due, Push.expires <= func.now())
        session.execute(expired.values(status=PushStatus.FAILED, updated=func.now()))
        claimed = update(Push).where(*due).returning(Push.id)
        ours = claimed.values(
            attempts=Push.attempts + 1, due=func.now() + CLAIM, updated=func.now()
        )
        return session.get_one(Push, push_id) if session.scalar(ours) else None


def finish_push(backend: Backend, push: Push, status: PushStatus, reason: str | None) -> bool:
    """Say what became of a push; False if it is not ours any more."""
    with backend.transaction() as session:
        ours = _ours(push).values(
            status=status,
            reason=reason and reason[:REASON_CHARACTERS],
            job_ids=_job_ids(session, push),
            updated=func.now(),
        )
        return session.scalar(ours.returning(Push.id)) is not None


def retry_push(backend: Backend, push: Push, reason: str, seconds: float) -> bool:
    """Put a push back for a while; False if that were beyond its time, or it is not ours."""
    later = func.now() + timedelta(seconds=seconds)
    with backend.transaction() as session:
        ours = _ours(push, Push.expires > later).values(
            due=later, reason=reason[:REASON_CHARACTERS], updated=func.now()
        )
        return session.scalar(ours.returning(Push.id)) is not None


def _ours(push: Push, *only_if: ColumnElement[bool]) -> Update:
    return (
        update(Push)
        .where(
            Push.id == push.id,
            Push.status == PushStatus.WAITING,
            Push.attempts == push.attempts,
            *only_if,
        )
        .execution_options(synchronize_session=False)
    )


def job_key(push: Push, rest: str) -> str:
    """The idempotency key of one of its jobs: a push that is begun twice submits each once."""
    return f"{_key_prefix(push)}{rest}"


def _key_prefix(push: Push) -> str:
    return f"push-{push.id}-"


def _job_ids(session: Session, push: Push) -> list[int]:
    """Its jobs, those of attempts before this one included."""
    keys = Job.idempotency_key.startswith(_key_prefix(push), autoescape=True)
    own = select(Job.id).where(Job.owner_id == push.hook.owner_id, keys)
    return list(session.scalars(own.order_by(Job.id)))


def is_waiting(backend: Backend, push_id: int) -> bool:
    with backend.transaction() as session:
        status = session.scalar(select(Push.status).where(Push.id == push_id))
    return status == PushStatus.WAITING


# --- what the janitor asks --------------------------------------------------------------------


def requeue_due(backend: Backend) -> list[int]:
    """Send again what is due and in no queue: put back for a while, or lost by Redis."""
    settled: ColumnElement[datetime] = func.now() - QUEUE_SETTLE
    with backend.transaction() as session:
        due = session.scalars(
            select(Push.id)
            .where(Push.status == PushStatus.WAITING, Push.due < settled)
            .order_by(Push.due)
            .limit(SWEPT_AT_ONCE)
        ).all()
    return backend.pushes.enqueue_missing(due)


def forget_pushes(backend: Backend) -> None:
    """Remove what was done long ago. Looks at the oldest only, so that it costs next to nothing."""
    oldest = select(Push.id).order_by(Push.id).limit(SWEPT_AT_ONCE)
    with backend.transaction() as session:
        session.execute(
            delete(Push)
            .where(
                Push.id.in_(oldest),
                Push.status != PushStatus.WAITING,
                Push.updated < func.now() - KEPT,
            )
            .execution_options(synchronize_session=False)
        )
