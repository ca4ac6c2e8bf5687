"""What lists hold, some rows at a time: each begins at a row, so that new ones shift nothing.

`start` is the id of the first row, None for the beginning, and `count` the most rows.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, defer, lazyload

from buildsrht.models import Job, Secret, SshKey, Task, User, Visibility


def jobs_of(
    session: Session, owner: User, viewer: User, start: int | None, count: int
) -> Sequence[Job]:
    """A user's jobs, newest first: all for themselves, and for others those that are public."""
    jobs = (
        select(Job)
        .where(Job.owner_id == owner.id)
        .order_by(Job.id.desc())
        .limit(count)
        # Not everybody asks for them.
        .options(lazyload(Job.tasks))
    )
    if owner.id != viewer.id:
        jobs = jobs.where(Job.visibility == Visibility.PUBLIC)
    if start is not None:
        jobs = jobs.where(Job.id <= start)
    return session.scalars(jobs).all()


def tasks_of(session: Session, job_ids: Collection[int]) -> dict[int, list[Task]]:
    """The tasks of each of these jobs, in the order of its manifest."""
    found: dict[int, list[Task]] = {job_id: [] for job_id in job_ids}
    tasks = select(Task).where(Task.job_id.in_(job_ids)).order_by(Task.job_id, Task.position)
    for task in session.scalars(tasks):
        found[task.job_id].append(task)
    return found


def secrets_of(session: Session, owner: User, start: int | None, count: int) -> Sequence[Secret]:
    """A user's secrets, in the order in which they got them, without what is sealed."""
    secrets = select(Secret).where(Secret.owner_id == owner.id).order_by(Secret.id).limit(count)
    if start is not None:
        secrets = secrets.where(Secret.id >= start)
    return session.scalars(secrets.options(defer(Secret.sealed, raiseload=True))).all()


def ssh_keys_of(session: Session, owner: User, start: int | None, count: int) -> Sequence[SshKey]:
    """A user's public keys, in the order in which they were added."""
    keys = select(SshKey).where(SshKey.user_id == owner.id).order_by(SshKey.id).limit(count)
    if start is not None:
        keys = keys.where(SshKey.id >= start)
    return session.scalars(keys).all()
