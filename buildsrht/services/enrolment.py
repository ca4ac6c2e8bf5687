"""Which build hosts there are, and whether they may take jobs.

    enrolled ──▶ active ◀──▶ draining ──▶ retired ──▶ forgotten
                    ▲                        │
                    └───────── resume ───────┘

A host enrols itself when its janitor reports for the first time; it may be enrolled before. Whether
one is well, buildsrht.health.hosts judges; what one can run, it says itself.
"""

from collections.abc import Sequence

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from buildsrht import config
from buildsrht.backend import Backend
from buildsrht.errors import BadInput, Conflict, FieldError, NotFound
from buildsrht.models import Job, JobStatus, KeptMachine, Runner, RunnerState, User
from buildsrht.queue import SILENCE
from buildsrht.services.administration import note, require_administrator
from buildsrht.services.dispatch import EXCLUSIVELY


def enrol(backend: Backend, name: str, *, draining: bool = False) -> None:
    """Make a host known before it comes; with `draining` it takes no job before it is resumed.
    Raises Conflict if it is known."""
    try:
        config.runner_name(name)
    except ValueError as error:
        raise BadInput([FieldError("name", str(error))]) from error
    state = RunnerState.DRAINING if draining else RunnerState.ACTIVE
    new = insert(Runner).values(name=name, state=state, seen=func.now() - SILENCE)
    with backend.transaction() as session:
        if session.scalar(new.on_conflict_do_nothing().returning(Runner.id)) is None:
            raise Conflict(f"the build host {name} is known already")


def drain(backend: Backend, author: User | None, name: str) -> None:
    """Have a host take no more jobs; those that it has go on. When this returns, it takes none."""
    _move(backend, author, name, RunnerState.DRAINING, {RunnerState.ACTIVE})


def resume(backend: Backend, author: User | None, name: str) -> None:
    """Have a host take jobs again."""
    _move(backend, author, name, RunnerState.ACTIVE, {RunnerState.DRAINING, RunnerState.RETIRED})


def retire(backend: Backend, author: User | None, name: str) -> None:
    """Have a host take no job any more, and miss it no more when it is silent. Raises Conflict
    while a job runs there."""
    _move(backend, author, name, RunnerState.RETIRED, {RunnerState.ACTIVE, RunnerState.DRAINING})


def prune(backend: Backend, author: User | None) -> Sequence[str]:
    """Forget the hosts that are retired, silent, and have nothing of anybody: no job that runs and
    no machine that is kept. Returns their names."""
    if author:
        require_administrator(author)
    kept = exists().where(KeptMachine.runner == Runner.name, KeptMachine.ended.is_(None))
    is_over = (Runner.state == RunnerState.RETIRED) & (Runner.seen < func.now() - SILENCE)
    with backend.transaction() as session:
        session.execute(EXCLUSIVELY)
        gone = session.scalars(
            delete(Runner)
            .where(is_over, ~_runs_jobs(), ~kept)
            .returning(Runner.name)
            .execution_options(synchronize_session=False)
        ).all()
    if author and gone:
        note(author, f"forgot the build hosts {', '.join(sorted(gone))}")
    return sorted(gone)


def count_running(session: Session, name: str) -> int:
    """How many jobs a host has to end yet."""
    running = (Job.status == JobStatus.RUNNING) & (Job.runner == name)
    return session.scalar(select(func.count()).select_from(Job).where(running)) or 0


def _move(
    backend: Backend, author: User | None, name: str, to: RunnerState, allowed: set[RunnerState]
) -> None:
    if author:
        require_administrator(author)
    with backend.transaction() as session:
        # Behind whoever is just taking a job, so that nobody does who saw the state before.
        session.execute(EXCLUSIVELY)
        moved = update(Runner).where(Runner.name == name, Runner.state.in_(allowed))
        if to == RunnerState.RETIRED:
            moved = moved.where(~_runs_jobs())
        if session.scalar(moved.values(state=to).returning(Runner.id)) is None:
            _refuse(session, name, to)
    if author:
        note(author, f"made the build host {name} {to}")


def _refuse(session: Session, name: str, to: RunnerState) -> None:
    """Nothing, if it is so already."""
    state = session.scalar(select(Runner.state).where(Runner.name == name))
    if state is None:
        raise NotFound(f"there is no build host {name}")
    if state == to:
        return
    running = count_running(session, name)
    if to == RunnerState.RETIRED and running:
        jobs = "a job runs" if running == 1 else f"{running} jobs run"
        raise Conflict(f"{jobs} on {name}: drain it, and retire it when they are over")
    raise Conflict(f"the build host {name} is {state}")


def _runs_jobs() -> ColumnElement[bool]:
    return exists().where(Job.runner == Runner.name, Job.status == JobStatus.RUNNING)
