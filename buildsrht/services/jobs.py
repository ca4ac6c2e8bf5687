"""What users do with jobs: submit, look, list, start, cancel, change, submit once more."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildsrht import events, urls
from buildsrht import manifest as manifests
from buildsrht.backend import Backend
from buildsrht.catalogue import Catalogue, Image
from buildsrht.errors import BadInput, Conflict, FieldError, Forbidden, NotFound
from buildsrht.logs import LogName
from buildsrht.manifest import Manifest, ManifestError, Problem
from buildsrht.models import EventKind, Job, JobStatus, Task, TaskStatus, User, Visibility
from buildsrht.services.dispatch import announce, withdraw
from buildsrht.services.scopes import EVERYTHING, granted, read_grants
from buildsrht.services.trees import name_tree
from buildsrht.services.users import insist_on_active
from buildsrht.status import move_job

PAGE = 50
NOTE_CHARACTERS = 4096
TAG = re.compile(r"[a-z0-9._-]+")
TAG_OF_ANY_CASE = re.compile(r"[A-Za-z0-9._-]+")
TAG_CHARACTERS = 128
TAGS = 16
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")

INSERT_PENDING = insert(Job).returning(Job)
INSERT_QUEUED = INSERT_PENDING.values(queued=func.now())
INSERT_TASKS = insert(Task).returning(Task, sort_by_parameter_order=True)


class BuildPlan(NamedTuple):
    """A manifest that was understood, and the image and processor that it asks for."""

    text: str
    manifest: Manifest
    image: Image
    arch: str


@dataclass(frozen=True)
class Submission:
    """What a user submits, each field already checked by the functions below."""

    plan: BuildPlan
    note: str | None = None
    tags: Sequence[str] = ()
    execute: bool = True
    secrets: bool = True
    visibility: Visibility = Visibility.UNLISTED
    idempotency_key: str | None = None
    # What whoever submits may hand on to the job: all that the user may do, or what a token may.
    grantable: frozenset[str] = EVERYTHING
    # What is unpacked in place of a source: buildsrht.services.trees.
    tree_id: int | None = None
    # Whether those are told whom the manifest's triggers name.
    tells: bool = True

    @property
    def hash(self) -> bytes:
        """The same for the same request, for telling a repeated submit from a reused key."""
        request = [self.plan.text, self.note, *self.tags, self.execute, self.secrets]
        # Keys that were used before there were trees stay good.
        tree = [] if self.tree_id is None else [self.tree_id]
        return hashlib.sha256(json.dumps([*request, self.visibility, *tree]).encode()).digest()


class Page(NamedTuple):
    """Part of a list, newest first. `next` is the id that the following page starts with."""

    results: Sequence[Job]
    next: int | None
    total: int


# --- rules ------------------------------------------------------------------------------------


def read_manifest(catalogue: Catalogue, text: str) -> BuildPlan:
    """Parse a manifest and find its image. Raises BadInput with every problem."""
    manifest = manifests.parse(text, partial(_what_is_not_here, catalogue))
    image = catalogue.find(manifest.image)
    assert image, "a manifest with an image that is not here was refused"
    return BuildPlan(text, manifest, image, manifest.arch or image.default_arch)


def lint(catalogue: Catalogue, text: str) -> tuple[Problem, ...]:
    """Everything for which `read_manifest` would refuse a manifest, and where it is."""
    try:
        read_manifest(catalogue, text)
    except ManifestError as error:
        return error.problems
    return ()


def _what_is_not_here(catalogue: Catalogue, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a manifest asks for that this service has not."""
    name, arch = found.get("image"), found.get("arch")
    image = catalogue.find(name) if name else None
    if name and image is None:
        yield "image", f"{name!r} is none of {', '.join(catalogue.names)}"
    if image and arch and arch not in image.arches:
        yield "arch", f"{image.name} is built for {', '.join(image.arches)}, not {arch!r}"
    try:
        read_grants(found["grants"])
    except BadInput as error:
        for _, reason in error.errors:
            yield "oauth", reason.removeprefix("oauth: ")


def check_note(note: str) -> str:
    if len(note) > NOTE_CHARACTERS:
        raise BadInput(
            [FieldError("note", f"at most {NOTE_CHARACTERS} characters, got {len(note)}")]
        )
    return note


def check_tags(tags: Sequence[str], *, any_case: bool = False) -> Sequence[str]:
    """REST knows lower case only; elsewhere tags may have upper case too."""
    if len(tags) > TAGS:
        raise BadInput([FieldError("tags", f"at most {TAGS}, got {len(tags)}")])
    pattern, letters = (TAG_OF_ANY_CASE, "A-Z, a-z") if any_case else (TAG, "a-z")
    rule = f"must be 1 to {TAG_CHARACTERS} of {letters}, 0-9, '.', '_' and '-'"
    problems = [
        FieldError("tags", f"{tag[:TAG_CHARACTERS]!r} {rule}")
        for tag in tags
        if not pattern.fullmatch(tag) or len(tag) > TAG_CHARACTERS
    ]
    if problems:
        raise BadInput(problems)
    return tags


def check_visibility(word: str) -> Visibility:
    try:
        return Visibility(word)
    except ValueError:
        known = ", ".join(Visibility)
        raise BadInput([FieldError("visibility", f"{word[:32]!r} is none of {known}")]) from None


def check_idempotency_key(key: str) -> str:
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise BadInput(
            [FieldError("Idempotency-Key", "must be 1 to 255 printable ASCII characters")]
        )
    return key


# --- submit -----------------------------------------------------------------------------------


def submit(backend: Backend, owner: User, submission: Submission) -> Job:
    """Store a job and, unless it is held back, put it into the queue.

    With an idempotency key that this owner used before, nothing is stored and the first job is
    returned; BadInput if that one was asked for differently, or if its tree is not kept any more.
    Forbidden if the manifest asks for more than whoever submits may hand on, or if the owner is
    suspended.
    """
    insist_on_active(owner)
    _insist_on_grantable(submission)
    try:
        with backend.transaction() as session:
            repeated = _find_repeated(session, owner, submission)
            if repeated:
                return repeated
            job = _store(backend, session, owner, submission)
    except IntegrityError:
        # Two submits with one idempotency key raced, and the constraint picked the other.
        with backend.transaction() as session:
            repeated = _find_repeated(session, owner, submission)
            if not repeated:
                raise
            return repeated
    if job.status == JobStatus.QUEUED:
        announce(backend, job)
    return job


def _insist_on_grantable(submission: Submission) -> None:
    if not submission.secrets:
        # Then the job gets no token.
        return
    missing = granted(read_grants(submission.plan.manifest.grants)) - submission.grantable
    if missing:
        raise Forbidden(
            f"oauth: a token without {', '.join(sorted(missing))} cannot hand that on to a job"
        )


def _find_repeated(session: Session, owner: User, submission: Submission) -> Job | None:
    if submission.idempotency_key is None:
        return None
    job = session.scalar(
        select(Job).where(
            Job.owner_id == owner.id, Job.idempotency_key == submission.idempotency_key
        )
    )
    if job and job.idempotency_hash != submission.hash:
        raise BadInput(
            [FieldError("Idempotency-Key", f"was used for job {job.id}, which was different")]
        )
    return job


def _store(backend: Backend, session: Session, owner: User, submission: Submission) -> Job:
    """Insert a job and its tasks, and return them with what the database filled in.

    Plain statements, each of which answers with its rows: the ORM's own way takes more than
    twice the processor time, and that is what bounds how many submissions a second are accepted.
    """
    if submission.tree_id is not None:
        name_tree(backend, session, owner, submission.tree_id, submission.plan.manifest)
    connection = session.connection()
    insert_job = INSERT_QUEUED if submission.execute else INSERT_PENDING
    job = connection.execute(insert_job, _job_row(owner, submission)).one()
    tasks = [
        {"job_id": job.id, "position": position, "name": task.name, "status": TaskStatus.PENDING}
        for position, task in enumerate(submission.plan.manifest.tasks)
    ]
    # Given no rows at all, SQLAlchemy would insert one of nothing but defaults.
    stored = connection.execute(INSERT_TASKS, tasks) if tasks else ()
    events.record(session, job, EventKind.CREATED)
    return Job(**job._mapping, owner=owner, tasks=[Task(**task._mapping) for task in stored])


def _job_row(owner: User, submission: Submission) -> dict[str, Any]:
    plan = submission.plan
    triggers = plan.manifest.triggers if submission.tells else ()
    return {
        "owner_id": owner.id,
        "manifest": plan.text,
        "image": plan.image.name,
        "arch": plan.arch,
        "labels": list(plan.manifest.labels),
        "note": submission.note,
        "tags": list(submission.tags),
        "visibility": submission.visibility,
        "secrets": submission.secrets,
        "triggers": [trigger.as_written for trigger in triggers],
        "tree_id": submission.tree_id,
        "status": JobStatus.QUEUED if submission.execute else JobStatus.PENDING,
        "idempotency_key": submission.idempotency_key,
        "idempotency_hash": submission.hash if submission.idempotency_key else None,
    }


def resubmit(
    backend: Backend,
    viewer: User,
    job_id: int,
    *,
    note: str | None = None,
    execute: bool = True,
    may_use_secrets: bool,
    grantable: frozenset[str],
    idempotency_key: str | None = None,
) -> Job:
    """Submit the manifest of a job once more, as a new job of `viewer`, with the same tags,
    visibility, secrets and tree, and, unless another is given, a note that names the job.

    Of another's job neither secrets nor triggers are taken: these would tell strangers, or set
    off what is behind an address, in the name of somebody who may not have read the manifest. As
    that one's tree is nobody else's, a job with one is Forbidden. BadInput if the manifest would be
    refused today.
    """
    with backend.transaction() as session:
        job = require_job(session, job_id, viewer)
    is_own = job.owner_id == viewer.id
    if job.tree_id is not None and not is_own:
        raise Forbidden(
            f"job {job_id} was submitted with a tree, which {job.owner.canonical_name} only may use"
        )
    plan = read_manifest(backend.catalogue, job.manifest)
    has_secrets = is_own and job.secrets
    if has_secrets and not may_use_secrets and (plan.manifest.secrets or plan.manifest.grants):
        raise Forbidden(
            f"job {job_id} has secrets, and a token without SECRETS:RO cannot give them to a job"
        )
    submission = Submission(
        plan=plan,
        note=_note_of_resubmitted(backend, job) if note is None else check_note(note) or None,
        tags=job.tags,
        execute=execute,
        secrets=has_secrets and may_use_secrets,
        visibility=job.visibility,
        idempotency_key=idempotency_key,
        grantable=grantable,
        tree_id=job.tree_id,
        tells=is_own,
    )
    return submit(backend, viewer, submission)


def _note_of_resubmitted(backend: Backend, job: Job) -> str:
    page = urls.job_page(backend.config.web.origin, job.owner.name, job.id)
    return f"Resubmission of [#{job.id}]({page})"


# --- look -------------------------------------------------------------------------------------


class Guarded(Protocol):
    """What of a job says who may see it: its row, or these columns of it."""

    @property
    def owner_id(self) -> int: ...
    @property
    def visibility(self) -> Visibility: ...


def may_see(viewer: User | None, job: Guarded) -> bool:
    return job.visibility != Visibility.PRIVATE or may_operate(viewer, job)


def may_operate(viewer: User | None, job: Guarded) -> bool:
    return viewer is not None and (viewer.id == job.owner_id or viewer.admin)


def require_job(session: Session, job_id: int, viewer: User | None) -> Job:
    """The job, if `viewer` may see it; the same NotFound whether it is hidden or absent."""
    job = session.get(Job, job_id) if job_id < 2**31 else None
    if job is None or not may_see(viewer, job):
        raise NotFound(f"there is no job {job_id}")
    return job


def require_own_job(session: Session, job_id: int, viewer: User) -> Job:
    """The job, if `viewer` may start and cancel it."""
    job = require_job(session, job_id, viewer)
    if not may_operate(viewer, job):
        raise Forbidden(f"job {job_id} belongs to {job.owner.canonical_name}")
    return job


def log_name(job: Job, task_name: str | None) -> LogName:
    """The log of one of the job's tasks, or its setup log."""
    if task_name is None:
        return LogName(job.id, None)
    for task in job.tasks:
        if task.name == task_name:
            return LogName(job.id, task.id)
    raise NotFound(f"job {job.id} has no task {task_name!r}")


def list_own_jobs(session: Session, owner: User, start: int | None) -> Page:
    """The owner's jobs from id `start` downwards. New jobs do not shift later pages."""
    own = select(Job).where(Job.owner_id == owner.id)
    total = session.scalar(select(func.count()).select_from(own.subquery())) or 0
    if start is not None:
        own = own.where(Job.id <= start)
    jobs = session.scalars(own.order_by(Job.id.desc()).limit(PAGE + 1)).all()
    following = jobs[PAGE].id if len(jobs) > PAGE else None
    return Page(jobs[:PAGE], following, total)


# --- change -----------------------------------------------------------------------------------


def update_job(
    backend: Backend,
    job_id: int,
    viewer: User,
    *,
    visibility: Visibility | None = None,
    tags: Sequence[str] | None = None,
    note: str | None = None,
) -> Job:
    """Change what is said about a job, also one that is over, and return it. None leaves something
    as it is; an empty note removes it. Raises BadInput with every problem."""
    _check_changes(tags, note)
    with backend.transaction() as session:
        require_own_job(session, job_id, viewer)
        # As it is behind whoever else changes it now.
        job = session.get_one(Job, job_id, with_for_update={"of": Job}, populate_existing=True)
        changes = _changes(job, visibility, tags, note)
        if changes:
            for name, value in changes.items():
                setattr(job, name, value)
            job.updated = func.now()
            session.flush()
            events.record(session, job, EventKind.SETTINGS)
            session.refresh(job, ["updated"])
    return job


def _changes(
    job: Job, visibility: Visibility | None, tags: Sequence[str] | None, note: str | None
) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if visibility is not None:
        asked["visibility"] = visibility
    if tags is not None:
        asked["tags"] = list(tags)
    if note is not None:
        asked["note"] = note or None
    return {name: value for name, value in asked.items() if getattr(job, name) != value}


def _check_changes(tags: Sequence[str] | None, note: str | None) -> None:
    problems: list[FieldError] = []
    for check in (lambda: check_tags(tags or (), any_case=True), lambda: check_note(note or "")):
        try:
            check()
        except BadInput as error:
            problems += error.errors
    if problems:
        raise BadInput(problems)


# --- start and cancel -------------------------------------------------------------------------


def start(backend: Backend, job_id: int, viewer: User) -> None:
    """Queue a job that was held back. Of several racing starts one succeeds."""
    with backend.transaction() as session:
        job = require_own_job(session, job_id, viewer)
        if not try_start(session, job_id, f"{viewer.canonical_name} started it."):
            raise Conflict(f"job {job_id} is already {_status_now(session, job_id)}")
    announce(backend, job)


def try_start(session: Session, job_id: int, cause: str) -> bool:
    try:
        move_job(session, job_id, JobStatus.QUEUED, cause=cause, queued=func.now())
    except Conflict:
        return False
    return True


def cancel(backend: Backend, job_id: int, viewer: User) -> None:
    """End a job that is not over. Its build host, if any, notices within a second; asking again
    until then is no error."""
    with backend.transaction() as session:
        job = require_own_job(session, job_id, viewer)
        if not try_cancel(session, job_id, f"{viewer.canonical_name} cancelled it."):
            raise Conflict(f"job {job_id} is already over: {_status_now(session, job_id)}")
    withdraw(backend, job)


def try_cancel(session: Session, job_id: int, cause: str) -> bool:
    """Cancel a waiting job at once; ask for a running one. `cause` is who did so. False when it is
    over already.

    Holds the job's row, so that it does not move on between the look at it and the deed.
    """
    status = session.scalar(select(Job.status).where(Job.id == job_id).with_for_update())
    if status is None or status.is_final:
        return False
    if status == JobStatus.RUNNING:
        _request_cancel(session, job_id, cause)
    else:
        move_job(session, job_id, JobStatus.CANCELLED, Job.status == status, cause=cause)
    return True


def _request_cancel(session: Session, job_id: int, cause: str) -> None:
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status == JobStatus.RUNNING)
        .values(
            cancel_requested=func.coalesce(Job.cancel_requested, func.now()),
            cancel_cause=func.coalesce(Job.cancel_cause, cause),
        )
        .execution_options(synchronize_session=False)
    )


def _status_now(session: Session, job_id: int) -> JobStatus | None:
    return session.scalar(select(Job.status).where(Job.id == job_id))
