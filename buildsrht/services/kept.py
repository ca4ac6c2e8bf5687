"""Machines that are kept after their jobs: that there is one, until when, and why it is gone.

The machine itself is on one build host, which answers for the row being true: a row without an
end is a machine that can be visited, or is about to be.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update

from buildsrht.backend import Backend
from buildsrht.config import Ssh
from buildsrht.errors import Gone
from buildsrht.models import KeptMachine
from buildsrht.services import runs, sealing
from buildsrht.services.runs import Run

SSH_PORT = 22


def record_machine(backend: Backend, run: Run, expires: datetime, key: bytes) -> None:
    """Say that the machine of a job is kept, locked up with that key. Raises Conflict when the job
    is no longer this run's, and OperatorError when the key cannot be sealed."""
    with backend.transaction() as session:
        runs.require_ours(session, run)
        sealing.hold_keys(session)
        machine = KeptMachine(job_id=run.job_id, runner=run.runner, expires=expires)
        machine.sealed_key = backend.keys.seal(key, sealing.machine_context(machine))
        session.add(machine)


def open_key(backend: Backend, job_id: int) -> bytes:
    """What the machine of a job is locked up with. Raises Gone, or OperatorError when no key of
    the service opens it."""
    with backend.transaction() as session:
        sealing.hold_keys(session)
        machine = session.scalar(select(KeptMachine).where(KeptMachine.job_id == job_id))
        if machine is None or machine.sealed_key is None:
            reason = machine.reason if machine else "its job was deleted"
            raise Gone(f"the machine of job {job_id} is gone: {reason}")
        return backend.keys.unseal(machine.sealed_key, sealing.machine_context(machine))


def find_machine(backend: Backend, job_id: int) -> KeptMachine | None:
    """The machine of a job, also one that is gone."""
    with backend.transaction() as session:
        return session.scalar(select(KeptMachine).where(KeptMachine.job_id == job_id))


def end_machine(backend: Backend, job_id: int, reason: str) -> bool:
    """Say that a machine is gone, and forget its key. False if somebody said so before; the first
    reason stands."""
    with backend.transaction() as session:
        ended = session.execute(
            update(KeptMachine)
            .where(KeptMachine.job_id == job_id, KeptMachine.ended.is_(None))
            .values(ended=func.now(), reason=reason, sealed_key=None)
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


def connect_command(ssh: Ssh, job_id: int) -> str:
    """What the owner of a job types to get into its machine."""
    port = "" if ssh.port == SSH_PORT else f"-p {ssh.port} "
    return f"ssh {port}-t {ssh.user}@{ssh.name} connect {job_id}"
