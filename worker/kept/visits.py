"""How somebody gets to a kept machine: by the socket of the process in which it runs, started if
there is none.

Who may is for the caller to know.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from buildsrht import processes
from buildsrht.config import Config
from worker.directories import OWNER
from worker.disk_space import free_bytes
from worker.errors import RunnerError
from worker.kept import frozen
from worker.kept.frozen import Kept
from worker.kept.keeper import TROUBLE_SAID

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-P", "-m", "worker", "keeper")
# A machine of some gigabytes on a busy host.
OPEN_SECONDS = 180
LOOK_SECONDS = 0.05
CLOSE_SECONDS = 150
# What a socket's address may have, see unix(7).
LONGEST_PATH = 107


def open_machine(config: Config, job_id: int) -> Path:
    """The socket at which the machine of a job is visited (worker.kept.hosting says how), once it
    runs. Raises RunnerError when it does not, saying why."""
    deadline = time.monotonic() + OPEN_SECONDS
    is_started = False
    while time.monotonic() < deadline:
        with frozen.door(config):
            kept = _require(config, job_id)
            if not kept.is_owned:
                if is_started:
                    raise RunnerError(_trouble(kept))
                _start_keeper(config, kept)
                is_started = True
            elif _is_open(kept):
                return kept.socket
        time.sleep(LOOK_SECONDS)
    raise RunnerError(f"the machine of job {job_id} did not answer within {OPEN_SECONDS} s")


def _require(config: Config, job_id: int) -> Kept:
    kept = frozen.find(config, job_id)
    if kept is None or (kept.state is None and not kept.is_owned):
        raise RunnerError(f"no machine of job {job_id} is kept here any more")
    if not kept.is_owned and kept.is_over:
        raise RunnerError(f"the machine of job {job_id} was kept until {kept.expires:%F %T} UTC")
    if len(os.fsencode(kept.socket)) > LONGEST_PATH:
        raise RunnerError(f"{kept.socket}: longer than {LONGEST_PATH} bytes; see [ssh] path")
    return kept


def _is_open(kept: Kept) -> bool:
    """Whether it can be visited; then it goes on for a while from now, to have time to connect."""
    try:
        os.utime(kept.socket)
    except FileNotFoundError:
        return False
    return True


def _start_keeper(config: Config, kept: Kept) -> None:
    running = sum(each.is_owned and each.state is not None for each in frozen.all_kept(config))
    if running >= config.ssh.machines:
        raise RunnerError(
            f"{running} machines are being looked into on this host, which is as many as may be;"
            " try again later"
        )
    # Thawed it takes up more than frozen, and writes on.
    if free_bytes(config.worker.path) < config.worker.disk_reserve:
        raise RunnerError("the disk of this build host is short; try again later")
    (kept.directory / TROUBLE_SAID).unlink(missing_ok=True)
    kept.socket.unlink(missing_ok=True)
    # In a session of its own: whoever came first may go before the others.
    process = subprocess.Popen(
        [*PROGRAM, str(kept.job_id)], stdin=subprocess.DEVNULL, start_new_session=True
    )
    kept.own(process.pid)
    # Somebody has to take note of its end.
    threading.Thread(target=process.wait, daemon=True, name="keeper").start()


def _trouble(kept: Kept) -> str:
    try:
        said = (kept.directory / TROUBLE_SAID).read_text()
    except FileNotFoundError:
        said = "the process that had it run was killed"
    return f"the machine of job {kept.job_id} did not come back: {said}"


def close_all(config: Config) -> None:
    """Have every machine that runs frozen again, and wait until that is done: for the end of a
    service on this host. Raises RunnerError for those that take too long."""
    keepers = {kept.job_id: _keeper_of(kept) for kept in frozen.all_kept(config)}
    running = {job_id: pid for job_id, pid in keepers.items() if pid}
    for pid in running.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + CLOSE_SECONDS
    for job_id, pid in running.items():
        if not processes.has_ended(pid, max(deadline - time.monotonic(), 0)):
            raise RunnerError(f"the machine of job {job_id} still runs, in process {pid}")


def _keeper_of(kept: Kept) -> int | None:
    """The process in which it runs, if it does: none that is about to freeze it for the first
    time."""
    if not kept.is_owned or kept.state is None:
        return None
    with suppress(FileNotFoundError, ValueError):
        return int((kept.directory / OWNER).read_text().split()[0])
    return None
