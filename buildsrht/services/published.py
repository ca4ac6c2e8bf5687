"""What is told outside the pages, to whoever asks and to machines: how public jobs ended.

Who asks makes no difference here, so that an answer may be kept and passed on by anybody. Hence
unlisted and private jobs are not among these, whosever they are. A path of tags stands for all jobs
whose tags begin with it; the empty path is all of a user's.

All that is asked begins at one of the two indexes `job_published`, so that it takes as long for
a million jobs as for ten.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Text, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.orm import Session, lazyload

from buildsrht.models import Job, JobStatus, User, Visibility

# A cancelled job says nothing about what it was to build.
OUTCOMES = (JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.TIMEOUT)
# A project is forgotten when there were so many jobs since, with the same first tag.
JOBS_OF_PROJECTS = 50
FIRST_TAGS = 200

PUBLISHED = (Job.visibility == Visibility.PUBLIC, Job.finished.is_not(None))
FIRST_TAG: Any = func.coalesce(Job.tags[1], literal_column("''"))


class Project(NamedTuple):
    """What a sequence of jobs with the same tags has come to."""

    tags: Sequence[str]
    job_id: int
    status: JobStatus
    finished: datetime
    is_running: bool


def outcome(session: Session, owner_name: str, path: Sequence[str]) -> JobStatus | None:
    """How the newest job came out that was not cancelled. None if there is no such job, which is
    the same whether there are hidden ones, others, or not even a user."""
    jobs = _below(path, select(Job.status).where(*PUBLISHED, Job.status.in_(OUTCOMES)))
    owner_id = select(User.id).where(User.name == owner_name).scalar_subquery()
    return session.scalar(jobs.where(Job.owner_id == owner_id).order_by(Job.id.desc()).limit(1))


def newest(session: Session, owner: User, path: Sequence[str], count: int) -> Sequence[Job]:
    """The newest jobs that are over, without their tasks."""
    jobs = _below(path, select(Job).where(*PUBLISHED, Job.owner_id == owner.id))
    jobs = jobs.order_by(Job.id.desc()).limit(count).options(lazyload(Job.tasks))
    return session.scalars(jobs).all()


def projects(session: Session, owner: User, path: Sequence[str]) -> list[Project]:
    """The newest outcome of each list of tags that begins with `path`, and whether there will be
    another one soon."""
    firsts = path[:1] or _first_tags(session, owner)
    heads = func.unnest(cast(list(firsts), ARRAY(Text))).table_valued("tag").render_derived()
    recent = (
        _below(path, select(Job.id, Job.tags, Job.status, Job.finished))
        .where(*PUBLISHED, Job.owner_id == owner.id, Job.status.in_(OUTCOMES))
        .where(heads.c.tag == FIRST_TAG)
        .order_by(Job.id.desc())
        .limit(JOBS_OF_PROJECTS)
        .lateral()
    )
    found = (
        select(recent.c.tags, recent.c.id, recent.c.status, recent.c.finished)
        .select_from(heads.join(recent, literal_column("true")))
        .ext(distinct_on(recent.c.tags))
        .order_by(recent.c.tags, recent.c.id.desc())
    )
    running = _running(session, owner)
    return [
        Project(row.tags, row.id, row.status, row.finished, tuple(row.tags) in running)
        for row in session.execute(found)
    ]


def _below(path: Sequence[str], jobs: Any) -> Any:
    if not path:
        return jobs
    return jobs.where(path[0] == FIRST_TAG, Job.tags[1 : len(path)] == list(path))


def _first_tags(session: Session, owner: User) -> Sequence[str]:
    """The tags that jobs begin with, "" for those without; each found from the one before."""
    tags = select(FIRST_TAG.label("tag")).where(*PUBLISHED, Job.owner_id == owner.id)
    tags = tags.order_by(FIRST_TAG).limit(1)
    found = tags.cte("found", recursive=True)
    following = tags.where(found.c.tag < FIRST_TAG).lateral()
    found = found.union_all(select(following.c.tag).select_from(found, following))
    return session.scalars(select(found.c.tag).limit(FIRST_TAGS)).all()


def _running(session: Session, owner: User) -> set[tuple[str, ...]]:
    running = select(Job.tags).where(
        Job.owner_id == owner.id,
        Job.visibility == Visibility.PUBLIC,
        Job.status == JobStatus.RUNNING,
    )
    return {tuple(tags) for tags in session.scalars(running)}
