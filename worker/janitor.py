"""What a crash left behind: on this host processes, overlays, half-made snapshots, kept machines,
runs and their logs; in the whole service expired leases, jobs that Redis forgot, artifacts and
trees whose time is over, what deleted jobs left in storage, deliveries that were settled long ago.

The second owner of everything that must not leak. Each sweep looks at what is there, never at
what it remembers, so it may be started, killed and started again at any time, on every host.
"""

import logging
import math
import os
import re
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from buildsrht import processes
from buildsrht.backend import Backend
from buildsrht.journal import of_job
from buildsrht.models import Job, JobStatus
from buildsrht.services import (
    deletion,
    dispatch,
    duties,
    grants,
    hooks,
    password_resets,
    retention,
    runners,
    runs,
    sign_ins,
    stranded,
    strays,
    tallies,
    tokens,
    trees,
    triggers,
)
from worker import cgroups, intake, inventory, pruning, snapshots
from worker.confinement import is_ours
from worker.directories import is_in_use, locked, owner_of
from worker.kept import clearing
from worker.logbook import hand_back_spooled, seal_spool, seal_unwritten, spooled_logs
from worker.qemu import escaped

log = logging.getLogger(__name__)

SWEEP_SECONDS = 2
REPORT_SECONDS = 30
KILL_SECONDS = 5
RUN_NAME = re.compile(r"(\d+)-(\d+)")
LOST = "The process that ran this job on {runner} died."


def keep_sweeping(backend: Backend, stop: threading.Event) -> None:
    """Sweep every few seconds until `stop` is set, and now and then say how this host is.

    What one janitor does for all hosts is done by one only. What fails now is tried again.
    """
    reported = -math.inf
    us = f"{backend.config.worker.name} {os.getpid()} {secrets.token_hex(4)}"
    while True:
        for sweep in (heed, sweep_host, partial(_sweep_service_if_ours, us)):
            _try_to(sweep, backend)
        if time.monotonic() >= reported + REPORT_SECONDS and _try_to(report, backend):
            reported = time.monotonic()
            _try_to(partial(_make_room_if_ours, us), backend)
        if stop.wait(SWEEP_SECONDS):
            return


def _try_to(do: Callable[[Backend], None], backend: Backend) -> bool:
    try:
        do(backend)
    except Exception:
        log.exception("what the janitor does will be tried again")
        return False
    return True


def report(backend: Backend) -> None:
    """Say that this host is there, and what is on it."""
    runners.report(backend, backend.config.worker.name, inventory.take(backend))


def heed(backend: Backend) -> None:
    """Have this host take jobs or not, as the operator decided."""
    intake.obey(backend.config, runners.state_of(backend, backend.config.worker.name))


def _sweep_service_if_ours(us: str, backend: Backend) -> None:
    if duties.hold(backend, duties.JANITOR, us):
        sweep_service(backend)


def _make_room_if_ours(us: str, backend: Backend) -> None:
    """Not with each sweep: it adds up all that is stored."""
    if duties.hold(backend, duties.JANITOR, us):
        retention.make_room(backend)


def sweep_service(backend: Backend) -> None:
    """What any one host can do for all of them. What fails of it keeps nothing else from being
    done."""
    for duty in (
        _end_lost_jobs,
        triggers.finish_groups,
        _requeue_missing_jobs,
        stranded.end_stranded,
        triggers.requeue_due,
        hooks.requeue_due,
        hooks.forget_pushes,
        retention.remove_expired,
        trees.expire_trees,
        deletion.erase_deleted,
        strays.discard_strays,
        tokens.remove_job_tokens,
        grants.remove_old_grants,
        sign_ins.remove_expired_sign_ins,
        password_resets.remove_expired,
        triggers.remove_old,
        tallies.gather,
    ):
        try:
            duty(backend)
        except Exception:
            log.exception("%s will be tried again", duty.__name__)


def _end_lost_jobs(backend: Backend) -> None:
    for job_id in runs.expire_leases(backend):
        log.warning("its build host was lost", extra=of_job(job_id))


def _requeue_missing_jobs(backend: Backend) -> None:
    for job_id in dispatch.announce_missing(backend):
        log.info("wakes a build host once more", extra=of_job(job_id))


def sweep_host(backend: Backend) -> None:
    """Clear away every run on this host whose process is gone.

    The janitor's process does this, and each worker whose work horse was killed: one at a time.
    """
    path = backend.config.worker.path
    with locked(path.with_name(f"{path.name}.lock")):
        end_overstayed(backend)
        homes = [path, *snapshots.homes(backend.config)]
        for directory in [each for home in homes for each in _abandoned(home)]:
            _try_to_clear_away(backend, directory)
        for name in cgroups.remove_leftovers():
            log.warning("removed the control group of %s, whose process is gone", name)
        pruning.prune(backend.config)
        clearing.clear(backend)


def end_overstayed(backend: Backend) -> None:
    """Kill the process of every run whose job is not its own any more, and which does not notice:
    it hangs. What it leaves is then cleared away like that of any other."""
    path = backend.config.worker.path
    for directory in path.iterdir() if path.exists() else ():
        name = RUN_NAME.fullmatch(directory.name)
        owner = owner_of(directory) if name else None
        if name and owner and runs.is_overstayed(backend, int(name[1]), int(name[2])):
            log.warning("killing process %d, which hangs in %s", owner, directory.name)
            with suppress(ProcessLookupError):
                os.kill(owner, signal.SIGKILL)
            processes.has_ended(owner, KILL_SECONDS)


def _abandoned(home: Path) -> list[Path]:
    """Whatever is being made or used in this directory, by a process that is gone."""
    found = sorted(home.iterdir()) if home.exists() else []
    return [
        path
        for path in found
        if path.is_dir() and not snapshots.is_finished(path) and not is_in_use(path)
    ]


def _try_to_clear_away(backend: Backend, directory: Path) -> None:
    """One that cannot be cleared away now must not keep the others from it."""
    try:
        clear_away(backend, directory)
    except Exception:
        log.exception("%s will be tried again", directory.name)


def clear_away(backend: Backend, directory: Path) -> None:
    """End what still runs in an abandoned directory, end its job, keep its logs, remove it.

    In this order, so that being killed half way leaves the rest for the next sweep.
    """
    kill_users(directory)
    name = RUN_NAME.fullmatch(directory.name)
    if name:
        _end_run(backend, int(name[1]), int(name[2]), directory)
    shutil.rmtree(directory, ignore_errors=True)
    log.warning("cleared away %s", directory.name)


def kill_users(directory: Path) -> None:
    """Kill every process whose command line names a file in the directory."""
    for pid in pids_naming(f"{directory}/"):
        log.warning("killing process %d, which outlived its run in %s", pid, directory)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        processes.has_ended(pid, KILL_SECONDS)


def pids_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            # Anybody may name our files.
            if not is_ours(int(entry.name)):
                continue
            command = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text.encode() in command or escaped(text).encode() in command:
            found.append(int(entry.name))
    return found


def _end_run(backend: Backend, job_id: int, attempt: int, directory: Path) -> None:
    with backend.transaction() as session:
        is_deleted = session.get(Job, job_id) is None
    if is_deleted:
        deletion.erase_strays(backend, job_id)
        return
    logs = spooled_logs(job_id, directory)
    lost = LOST.format(runner=backend.config.worker.name)
    if hand_back_spooled(backend, job_id, attempt, lost, logs):
        return
    said = f"\n{lost}\n".encode()
    if not logs:
        seal_unwritten(backend, job_id, attempt, said)
    for name, spool in logs:
        seal_spool(backend, name, attempt, spool, last_words=said if name == logs[-1][0] else b"")
    with backend.transaction() as session:
        runs.suspect_strays(session, job_id)
        job = session.get_one(Job, job_id)
        if job.status == JobStatus.RUNNING and job.attempt == attempt:
            runs.end_abandoned(session, job, lost)
