"""A job's artifacts: kept, listed, found for download, and let go when their time is over."""

import secrets
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildsrht.backend import Backend
from buildsrht.errors import Conflict, Gone, NotFound
from buildsrht.models import Artifact, Job, User
from buildsrht.services.jobs import may_see, require_job
from buildsrht.services.runs import Run, require_ours


class Upload(NamedTuple):
    """An artifact whose bytes are stored, and which nobody sees yet."""

    path: str
    secret: str
    size: int
    sha256: bytes


def upload_artifact(backend: Backend, run: Run, path: str, chunks: Iterable[bytes]) -> Upload:
    """Stream a file of the guest into storage. An error in `chunks` passes through, and nothing is
    kept."""
    secret = secrets.token_hex(8)
    stored = backend.storage.put(_storage_key(run.job_id, secret), chunks)
    return Upload(path, secret, stored.size, stored.sha256)


def keep_artifact(backend: Backend, run: Run, upload: Upload) -> Artifact:
    """Make it visible. May be asked again, if the answer got lost.

    Raises Conflict when the job is no longer this run's; then nothing is kept.
    """
    lifetime = timedelta(seconds=backend.config.storage.artifact_lifetime)
    artifact = Artifact(
        job_id=run.job_id,
        path=upload.path,
        name=PurePosixPath(upload.path).name,
        secret=upload.secret,
        size=upload.size,
        sha256=upload.sha256,
        expires=datetime.now(UTC) + lifetime,
    )
    try:
        with backend.transaction() as session:
            return _kept_before(session, run, upload) or _keep(session, run, artifact)
    except Conflict:
        backend.storage.delete(_storage_key(run.job_id, upload.secret))
        raise


def _kept_before(session: Session, run: Run, upload: Upload) -> Artifact | None:
    # Whoever did not hear of it may still be at it: its lock is waited for.
    session.execute(select(Job.id).where(Job.id == run.job_id).with_for_update())
    asked = select(Artifact).where(Artifact.job_id == run.job_id, Artifact.secret == upload.secret)
    return session.scalar(asked)


def _keep(session: Session, run: Run, artifact: Artifact) -> Artifact:
    require_ours(session, run)
    session.add(artifact)
    return artifact


def storage_key(artifact: Artifact) -> str:
    return _storage_key(artifact.job_id, artifact.secret)


def _storage_key(job_id: int, secret: str) -> str:
    return f"artifacts/{job_id}/{secret}"


def list_artifacts(session: Session, job_id: int, viewer: User | None) -> Sequence[Artifact]:
    """A job's artifacts in the order of its manifest; a manifest has at most eight."""
    require_job(session, job_id, viewer)
    return session.scalars(
        select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.id)
    ).all()


def artifacts_of(session: Session, job_ids: Collection[int]) -> dict[int, list[Artifact]]:
    """The same for several jobs at once, which the caller may see."""
    found: dict[int, list[Artifact]] = {job_id: [] for job_id in job_ids}
    for artifact in session.scalars(
        select(Artifact).where(Artifact.job_id.in_(job_ids)).order_by(Artifact.id)
    ):
        found[artifact.job_id].append(artifact)
    return found


def is_gone(artifact: Artifact) -> bool:
    """The janitor may not have come yet: what has expired is gone at once, and for everybody."""
    return artifact.deleted is not None or artifact.expires < datetime.now(UTC)


def require_artifact(
    session: Session, job_id: int, secret: str, name: str, viewer: User | None
) -> Artifact:
    """The artifact behind a download URL. NotFound if there is none that `viewer` may see, Gone
    when its time is over."""
    artifact = session.scalar(
        select(Artifact).where(
            Artifact.job_id == job_id, Artifact.secret == secret, Artifact.name == name
        )
    )
    if artifact is None or not may_see(viewer, artifact.job):
        raise NotFound("there is no such artifact")
    if is_gone(artifact):
        raise Gone(_why_gone(artifact))
    return artifact


def _why_gone(artifact: Artifact) -> str:
    if artifact.deleted and artifact.deleted < artifact.expires:
        return f"{artifact.name} was removed on {artifact.deleted:%Y-%m-%d}, as room was needed"
    return f"{artifact.name} was kept until {artifact.expires:%Y-%m-%d}"
