"""Keep a few spares ready, of the snapshots that jobs used last.

One process per build host, beside its workers. It owns a keeper per spare; how many there are is
bounded by `[snapshots] spares`. Nobody needs them: a run that finds none continues its snapshot by
itself, which only takes longer.
"""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsrht.config import Config
from worker import snapshots, spares
from worker.disk_space import shortage
from worker.errors import RunnerError
from worker.machines import find_platform
from worker.platforms import Platform
from worker.snapshots import Snapshot

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
# A job that has just got a spare shall have the processors for itself while it starts.
REST_SECONDS = 2
# After a keeper failed, until its snapshot is tried again.
RETRY_SECONDS = 3600


@dataclass
class Keeper:
    """A child process, and what it keeps."""

    pid: int
    id: str
    directory: Path
    lent_at: float | None = None


class Stock:
    def __init__(self, config: Config):
        self._config = config
        self._keepers: dict[int, Keeper] = {}
        self._not_before: dict[str, float] = {}

    def look(self) -> None:
        """Compare what is there with what should be, and start or end keepers."""
        self._reap()
        self._note_lent()
        wanted = dict(self._wanted())
        missing = share_out(list(wanted), self._config.snapshots.spares)
        for keeper in self._keepers.values():
            if keeper.lent_at is not None:
                continue
            if missing[keeper.id] > 0:
                missing[keeper.id] -= 1
            else:
                os.kill(keeper.pid, signal.SIGTERM)
        if self._may_start():
            for name in missing.elements():
                self._start(name, *wanted[name])

    def stop(self) -> None:
        """Returns when the last machine that was lent is given back; whoever does not want to wait
        for that kills us."""
        for pid in self._keepers:
            os.kill(pid, signal.SIGTERM)
        while self._keepers:
            self._reap()
            time.sleep(LOOK_SECONDS / 10)

    def _wanted(self) -> Iterator[tuple[str, tuple[Platform, Snapshot]]]:
        """As many snapshots as there may be spares, the last used first."""
        found = [each for home in snapshots.homes(self._config) for each in snapshots.all_in(home)]
        left = self._config.snapshots.spares
        for snapshot in sorted(found, key=lambda each: each.last_used, reverse=True):
            platform = find_snapshot_platform(self._config, snapshot) if left else None
            if platform:
                left -= 1
                yield spares.spare_id(self._config, snapshot), (platform, snapshot)

    def _may_start(self) -> bool:
        lent = [each.lent_at for each in self._keepers.values() if each.lent_at is not None]
        rested = time.monotonic() > max(lent, default=0.0) + REST_SECONDS
        return rested and not shortage(self._config)

    def _start(self, name: str, platform: Platform, snapshot: Snapshot) -> None:
        if time.monotonic() < self._not_before.get(name, 0):
            return
        # Until the keeper has a handler of its own, SIGTERM would be lost on ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            _become_keeper(platform, snapshot)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._keepers[pid] = Keeper(pid, name, spares.directory_of(self._config, snapshot, pid))

    def _note_lent(self) -> None:
        for keeper in self._keepers.values():
            if keeper.lent_at is None and (keeper.directory / spares.LENT).exists():
                keeper.lent_at = time.monotonic()

    def _reap(self) -> None:
        while self._keepers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            keeper = self._keepers.pop(pid, None)
            if keeper and status != 0:
                self._not_before[keeper.id] = time.monotonic() + RETRY_SECONDS


def share_out(ids: list[str], number: int) -> Counter[str]:
    """How many of each there should be: one for each of the first, and the rest evenly."""
    favoured = ids[:number]
    shares: Counter[str] = Counter()
    for position in range(number if favoured else 0):
        shares[favoured[position % len(favoured)]] += 1
    return shares


def find_snapshot_platform(config: Config, snapshot: Snapshot) -> Platform | None:
    """What a snapshot runs on; None if that is not what is here now."""
    try:
        platform = find_platform(config, snapshot.made["image"], snapshot.made["arch"])
    except (RunnerError, KeyError):
        return None
    return platform if snapshot.made.get("platform") == platform.key else None


def _become_keeper(platform: Platform, snapshot: Snapshot) -> None:
    """In the child. Never returns."""
    status = 1
    try:
        spares.keep(platform, snapshot)
        status = 0
    except SystemExit:
        status = 0
    except (RunnerError, OSError) as error:
        log.warning("no spare of %s: %s", snapshot.key, error)
    except Exception:
        log.exception("no spare of %s", snapshot.key)
    finally:
        os._exit(status)


def keep_stock(config: Config) -> None:
    """Until SIGTERM or SIGINT."""
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    stock = Stock(config)
    while not stopping:
        try:
            stock.look()
        # If this process ended, so would the machines that it has lent.
        except Exception:
            log.exception("the stock of spares will be looked at again")
        time.sleep(LOOK_SECONDS)
    stock.stop()
