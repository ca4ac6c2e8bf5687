"""What is broken on purpose. Each fault breaks one thing, says whose runs that hits, and mends what
would not mend itself.

A fault is a function of the fleet and a source of chance; it returns a `Damage`, or None where
there was nothing to hit just then.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from buildsrht import processes
from buildsrht.backend import open_redis
from chaos.facts import Facts, Running
from chaos.fleet import Fleet, Host
from chaos.parts import Part, descendants

SHORT_SECONDS = 5.0
# Longer than a lease: the host is given up, and does not know.
LONG_SECONDS = 30.0
DOWN_SECONDS = 3.0
DRAIN_SECONDS = 60.0


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Damage:
    """`victims` are runs that somebody else has to see to now, `host` is the one that may take no
    jobs meanwhile; none may if it `hits_all`. `mend` ends what does not end by itself, and takes as
    long as that lasts."""

    victims: Sequence[Running] = ()
    mend: Callable[[], None] = _nothing
    host: str | None = None
    hits_all: bool = False


Fault = Callable[[Fleet, Facts, random.Random], Damage | None]


def _some(rng: random.Random, found: Sequence[Running]) -> Running | None:
    return rng.choice(found) if found else None


def _host_of(fleet: Fleet, run: Running) -> Host:
    return next(host for host in fleet.hosts if host.name == run.runner)


def _owner(host: Host, run: Running) -> int | None:
    """The work horse of a run, from its directory, which only its host sees."""
    path = Path(f"/proc/{host.network.holder}/root{host.work}/{run.job_id}-{run.attempt}/owner")
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _kill(pid: int, number: signal.Signals = signal.SIGKILL) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _on(host: Host, found: Sequence[Running]) -> list[Running]:
    return [run for run in found if run.runner == host.name]


# --- of a run ---------------------------------------------------------------------------------


def kill_work_horse(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    run = _some(rng, facts.running())
    pid = run and _owner(_host_of(fleet, run), run)
    return Damage([run], host=run.runner) if run and pid and _kill(pid) else None


def freeze_work_horse(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """It hangs: renews nothing, ends nothing, keeps its machine."""
    run = _some(rng, facts.running())
    pid = run and _owner(_host_of(fleet, run), run)
    if not (run and pid and _kill(pid, signal.SIGSTOP)):
        return None

    def mend() -> None:
        """Its slot is free again when somebody has killed it."""
        processes.has_ended(pid, DRAIN_SECONDS)

    return Damage([run], mend, run.runner)


def kill_qemu(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """Of a run, or one that stands ready."""
    host = rng.choice(fleet.hosts)
    machines = [pid for pid in _below(host.worker) if _is_qemu(pid)]
    if not machines:
        return None
    pid = rng.choice(machines)
    command = _command(pid)
    hit = [run for run in facts.running() if f"/{run.job_id}-{run.attempt}/" in command]
    return Damage(hit, host=host.name) if _kill(pid) else None


def _below(part: Part) -> list[int]:
    return descendants(part.pid) if part.pid else []


def _is_qemu(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("qemu-system")
    return False


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


# --- of a build host --------------------------------------------------------------------------


def kill_worker(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    host = rng.choice(fleet.hosts)
    hit = _on(host, facts.running())
    return Damage(hit, host=host.name) if host.worker.pid and _kill(host.worker.pid) else None


def kill_slot(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """One of the worker's processes, each of which has one job at most."""
    host = rng.choice(fleet.hosts)
    slots = [pid for pid in _below(host.worker) if _parent(pid) == host.worker.pid]
    slots = [pid for pid in slots if "worker" in _command(pid) and "stock" not in _command(pid)]
    if not slots:
        return None
    pid = rng.choice(slots)
    below = descendants(pid)
    hit = [run for run in _on(host, facts.running()) if _owner(host, run) in below]
    return Damage(hit, host=host.name) if _kill(pid) else None


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def stop_worker(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """As for an update: it ends in its own time, and is started again."""
    host = rng.choice(fleet.hosts)
    before = host.worker.pid
    host.worker.signal(signal.SIGTERM)

    def mend() -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while host.worker.pid in (None, before) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(SHORT_SECONDS)

    return Damage(mend=mend, host=host.name)


def kill_janitor(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    host = rng.choice(fleet.hosts)
    return Damage() if host.janitor.pid and _kill(host.janitor.pid) else None


def kill_host(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """All of it at once, as when its power fails, and started again."""
    host = rng.choice(fleet.hosts)
    hit = _on(host, facts.running())
    for part in host.parts:
        part.hold_down()
    for pid in [pid for part in host.parts for pid in (part.pid, *_below(part)) if pid]:
        _kill(pid)

    def mend() -> None:
        time.sleep(DOWN_SECONDS)
        for part in host.parts:
            part.let_up()

    return Damage(hit, mend, host.name)


def fill_disk(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    host = rng.choice(fleet.hosts)
    host.fill_disk()

    def mend() -> None:
        time.sleep(SHORT_SECONDS)
        host.empty_disk()

    return Damage(mend=mend, host=host.name)


# --- of the network ---------------------------------------------------------------------------


def cut_link_shortly(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """For less than a lease: nothing may be lost by it."""
    host = rng.choice(fleet.hosts)
    host.network.cut()

    def mend() -> None:
        time.sleep(SHORT_SECONDS)
        host.network.heal()

    return Damage(mend=mend, host=host.name)


def cut_link_for_long(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """The host is given up, goes on, and comes back."""
    host = rng.choice(fleet.hosts)
    hit = _on(host, facts.running())
    host.network.cut()

    def mend() -> None:
        time.sleep(LONG_SECONDS)
        host.network.heal()

    return Damage(hit, mend, host.name)


def slow_link_down(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    host = rng.choice(fleet.hosts)
    host.network.slow_down()

    def mend() -> None:
        time.sleep(SHORT_SECONDS)
        host.network.heal()

    return Damage(mend=mend, host=host.name)


# --- of what all share ------------------------------------------------------------------------


def kill_web(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    return Damage() if fleet.web.pid and _kill(fleet.web.pid) else None


def kill_redis(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """It starts again with nothing in it."""
    return Damage() if fleet.redis.pid and _kill(fleet.redis.pid) else None


def flush_redis(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    redis = open_redis(fleet.config.redis.url)
    try:
        redis.flushall()
    except RedisError:
        return None
    finally:
        redis.close()
    return Damage()


def kill_bucket(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """The server of it, all its processes at once; what it had is on its disk."""
    pids = [*_below(fleet.bucket), fleet.bucket.pid]
    killed = [pid for pid in pids if pid and _kill(pid)]
    return Damage() if killed else None


def kill_postgres(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """All its processes at once: it recovers from its journal."""
    pids = [pid for pid in _below(fleet.postgres) if "postgres" in _command(pid)]
    for pid in (*pids, fleet.postgres.pid):
        if pid:
            _kill(pid)
    return Damage() if pids else None


def restart_postgres(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    fleet.postgres.signal(signal.SIGTERM)
    return Damage()


def kill_all(fleet: Fleet, facts: Facts, rng: random.Random) -> Damage | None:
    """Every process of the service, everywhere, and all started again."""
    hit = facts.running()
    for part in fleet.parts:
        part.hold_down()
    for pid in [pid for part in fleet.parts for pid in (part.pid, *_below(part)) if pid]:
        _kill(pid)

    def mend() -> None:
        time.sleep(DOWN_SECONDS)
        for part in fleet.parts:
            part.let_up()

    return Damage(hit, mend, hits_all=True)


FAULTS: dict[str, Fault] = {
    "work horse killed": kill_work_horse,
    "work horse frozen": freeze_work_horse,
    "QEMU killed": kill_qemu,
    "slot killed": kill_slot,
    "worker killed": kill_worker,
    "worker stopped in order": stop_worker,
    "janitor killed": kill_janitor,
    "build host killed": kill_host,
    "disk full": fill_disk,
    "link cut for 5 s": cut_link_shortly,
    "link cut for 30 s": cut_link_for_long,
    "link slow for 5 s": slow_link_down,
    "web service killed": kill_web,
    "Redis killed": kill_redis,
    "Redis flushed": flush_redis,
    "bucket killed": kill_bucket,
    "PostgreSQL killed": kill_postgres,
    "PostgreSQL restarted": restart_postgres,
    "everything killed": kill_all,
}
