"""Machines that are kept after their jobs: that there is one, until when, and why it is gone.

The machine itself is on one build host, which answers for the row being true: a row without an
end is a machine that can be visited, or is about to be.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update

from buildsrht.backend import Backend
from buildsrht.models import KeptMachine
from buildsrht.services import runs
from buildsrht.services.runs import Run


def record_machine(backend: Backend, run: Run, expires: datetime) -> None:
    """Say that the machine of a job is kept. Raises Conflict when the job is no longer this
    run's."""
    with backend.transaction() as session:
        runs.require_ours(session, run)
        session.add(KeptMachine(job_id=run.job_id, runner=run.runner, expires=expires))


def find_machine(backend: Backend, job_id: int) -> KeptMachine | None:
    """The machine of a job, also one that is gone."""
    with backend.transaction() as session:
        return session.scalar(select(KeptMachine).where(KeptMachine.job_id == job_id))


def end_machine(backend: Backend, job_id: int, reason: str) -> bool:
    """Say that a machine is gone. False if somebody said so before; the first reason stands."""
    with backend.transaction() as session:
        ended = session.execute(
            update(KeptMachine)
            .where(KeptMachine.job_id == job_id, KeptMachine.ended.is_(None))
            .values(ended=func.now(), reason=reason)
            .returning(KeptMachine.id)
            .execution_options(synchronize_session=False)
        )
        return ended.first() is not None


def list_machines(backend: Backend, runner: str) -> Sequence[KeptMachine]:
    """Those that are on a build host, as far as the database knows."""
    with backend.transaction() as session:
        return session.scalars(
            select(KeptMachine)
            .where(KeptMachine.runner == runner, KeptMachine.ended.is_(None))
            .order_by(KeptMachine.job_id)
        ).all()
