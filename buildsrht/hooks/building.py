"""One push, from its row to its jobs.

May be killed at any moment and begun again: jobs are submitted under keys that say which push they
are of, and the directory for git is removed by whoever comes next. Whatever goes wrong is said in
the push's row, for its owner to read.
"""

import hashlib
import logging
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from buildsrht.backend import Backend
from buildsrht.courier.addresses import ForbiddenAddress, Unreachable, checked_addresses
from buildsrht.errors import BadInput, Forbidden
from buildsrht.hooks import addresses, editing, fetching, rules
from buildsrht.hooks.event import Event, Update
from buildsrht.hooks.fetching import (
    Commit,
    FetchFailed,
    FetchRefused,
    File,
    Moved,
    Remote,
    Repository,
)
from buildsrht.manifest.problems import shown
from buildsrht.models import Forge, Hook, Push, PushStatus
from buildsrht.services import hooks as hook_service
from buildsrht.services import jobs as job_service
from buildsrht.services.jobs import BuildPlan, Submission
from buildsrht.services.users import insist_on_active

log = logging.getLogger(__name__)

MOST_JOBS = 4
# All of git's commands together: well within the time that the courier has for a push.
PUSH_SECONDS = 200
FIRST_RETRY_SECONDS = 30
LONGEST_RETRY_SECONDS = 3600
# A forge may say that a ref has moved before all of its servers know. After that, it has moved on.
MOVED_ATTEMPTS = 4
SHELL_NOTICE = "`shell: true` was removed: nobody waits for a machine that a push started."
TRIGGERS_NOTICE = "`triggers` were removed: strangers choose nobody who is told."


@dataclass
class _Outcome:
    """What has become of a push so far."""

    built: int = 0
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def status(self) -> PushStatus:
        if self.failures:
            return PushStatus.FAILED
        return PushStatus.BUILT if self.built else PushStatus.IGNORED

    @property
    def reason(self) -> str | None:
        return "; ".join([*self.failures, *self.remarks]) or None


def perform(backend: Backend, push_id: int) -> None:
    """Build a push if it is due and nobody else does."""
    push = hook_service.claim_push(backend, push_id)
    if push is None:
        return
    try:
        outcome = _build(backend, push)
    except (FetchRefused, Forbidden) as refused:
        hook_service.finish_push(backend, push, PushStatus.FAILED, str(refused))
    except FetchFailed as failed:
        _retry(backend, push, str(failed))
    except OSError as error:
        # The disk is full, say: that is for the operator to mend, and may have been by then.
        log.exception("push %d will be tried again", push.id)
        _retry(backend, push, f"this host: {error.strerror}")
    else:
        hook_service.finish_push(backend, push, outcome.status, outcome.reason)


def _retry(backend: Backend, push: Push, reason: str) -> None:
    seconds = min(FIRST_RETRY_SECONDS * 2 ** (push.attempts - 1), LONGEST_RETRY_SECONDS)
    if not hook_service.retry_push(backend, push, reason, seconds):
        hook_service.finish_push(backend, push, PushStatus.FAILED, reason)


def _build(backend: Backend, push: Push) -> _Outcome:
    insist_on_active(push.hook.owner)
    event = Event.from_json(push.event)
    home = backend.config.var / "pushes"
    _clear_leftovers(backend, home)
    remote = _remote(backend, push.hook)
    size = "sha256" if len(event.updates[0].object) == 64 else "sha1"
    deadline = time.monotonic() + PUSH_SECONDS
    outcome = _Outcome()
    with fetching.repository(home / str(push.id), size, deadline) as repository:
        builder = _Builder(backend, push, event, repository, outcome)
        for ref, commit in _commits(push, event, remote, repository, outcome):
            builder.build_commit(ref, commit)
    return outcome


def _commits(
    push: Push, event: Event, remote: Remote, repository: Repository, outcome: _Outcome
) -> list[tuple[str, Commit]]:
    """All of them before any is built, so that it is the same four jobs if one has to be waited
    for. One that does not come keeps no other from being built."""
    found = []
    for update in event.updates:
        try:
            commit = _fetch(repository, remote, push.hook.forge, update)
        except Moved as moved:
            if push.attempts < MOVED_ATTEMPTS:
                raise
            outcome.remarks.append(str(moved))
        else:
            found.append((update.ref, repository.commit(commit)))
    return found


def _clear_leftovers(backend: Backend, home: Path) -> None:
    """Remove what was left by killed processes of pushes that nobody will try again."""
    for directory in home.iterdir() if home.exists() else ():
        is_push = directory.name.isdecimal()
        if is_push and not hook_service.is_waiting(backend, int(directory.name)):
            shutil.rmtree(directory, ignore_errors=True)


def _remote(backend: Backend, hook: Hook) -> Remote:
    host, port = addresses.host_of(hook.repository), addresses.port_of(hook.repository)
    try:
        found = checked_addresses(host, port, backend.config.courier.allow)
    except ForbiddenAddress as forbidden:
        raise FetchRefused(str(forbidden)) from forbidden
    except Unreachable as unreachable:
        raise FetchFailed(str(unreachable)) from unreachable
    credential = hook_service.reveal_credential(backend, hook)
    return Remote(hook.repository, host, port, found, credential)


def _fetch(repository: Repository, remote: Remote, forge: Forge, update: Update) -> str:
    """The commit of an update.

    Everybody on a sourcehut can have it sign a report about any commit, to any hook that they know
    of. So there the ref has to be at that commit.
    """
    if forge != Forge.SOURCEHUT:
        try:
            return repository.fetch_object(remote, update.object)
        except FetchRefused:
            raise
        except FetchFailed as failed:
            log.info("%s; trying %s", failed, update.ref)
    return repository.fetch_ref(remote, update.ref, update.object)


@dataclass(frozen=True)
class _Builder:
    """Makes jobs of the commits of one push, and notes what has become of each."""

    backend: Backend
    push: Push
    event: Event
    repository: Repository
    outcome: _Outcome

    def build_commit(self, ref: str, commit: Commit) -> None:
        files = self.repository.manifests(commit.id)
        if rules.asks_to_be_skipped(commit.message):
            self.outcome.remarks.append(f"{ref}: its message asks not to be built")
        elif not files:
            self.outcome.remarks.append(f"{ref}: no manifest in {commit.id[:12]}")
        else:
            for file in files:
                try:
                    self._build_file(ref, commit, file)
                except (BadInput, FetchRefused) as bad:
                    self.outcome.failures.append(f"{ref}: {shown(file.path)}: {bad}")

    def _build_file(self, ref: str, commit: Commit, file: File) -> None:
        remarks = self.outcome.remarks
        plan = job_service.read_manifest(self.backend.catalogue, self.repository.read(file))
        if not rules.wants(plan.manifest, self.push.hook.forge, ref):
            remarks.append(f"{ref}: {shown(file.path)} does not want it")
        elif self.outcome.built >= MOST_JOBS:
            remarks.append(f"{ref}: {shown(file.path)} left out, after {MOST_JOBS} others")
        else:
            submission = self._submission(ref, commit, file.path, plan)
            job_service.submit(self.backend, self.push.hook.owner, submission)
            self.outcome.built += 1

    def _submission(self, ref: str, commit: Commit, path: str, plan: BuildPlan) -> Submission:
        hook, event = self.push.hook, self.event
        text = editing.edit(
            plan.text,
            plan.manifest,
            _clone(hook, event, commit),
            rules.variables(hook, event, ref),
            keep_triggers=event.is_trusted,
        )
        digest = hashlib.sha256(f"{ref}\0{path}".encode()).hexdigest()[:32]
        return Submission(
            job_service.read_manifest(self.backend.catalogue, text),
            note=job_service.check_note(rules.note(hook, event, commit, _notices(event, plan))),
            tags=job_service.check_tags(rules.tags(hook, event, ref, path)),
            secrets=event.is_trusted,
            visibility=hook.visibility,
            idempotency_key=hook_service.job_key(self.push, digest),
        )


def _notices(event: Event, plan: BuildPlan) -> list[str]:
    told = [SHELL_NOTICE] if plan.manifest.shell else []
    return told if event.is_trusted or not plan.manifest.triggers else [*told, TRIGGERS_NOTICE]


def _clone(hook: Hook, event: Event, commit: Commit) -> editing.Clone:
    is_private = hook.credential is not None
    url = addresses.ssh_url(hook.repository) if is_private else event.head or hook.repository
    name = addresses.name_of(hook.repository)
    return editing.Clone(
        hook.repository.removesuffix(".git"), name, url, commit.id, is_private=is_private
    )
