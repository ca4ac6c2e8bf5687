"""`python -m chaos`: run jobs, break things, tell what came of it. Ends with 1 if it lost any."""

import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
import httpx

from buildsrht.backend import open_redis
from chaos import fleet, load, network, promises
from chaos.errors import ChaosFailed
from chaos.facts import Facts, facts_of
from chaos.faults import FAULTS, Damage
from chaos.fleet import SLOTS, Fleet
from chaos.load import Load
from chaos.report import Blow, Report

USERS = ("ann", "ben", "cem")
PAUSE_SECONDS = (0.5, 4.0)
# No recovery takes as long.
RECOVERY_SECONDS = 120
REST_SECONDS = 900
POLL_SECONDS = 0.1
# Until there is something to hit.
ATTEMPTS, RETRY_SECONDS = 20, 0.5
RESULTS = Path("build/chaos.json")


@click.command(help=__doc__)
@click.option("--jobs", default=300, show_default=True, type=click.IntRange(1))
@click.option("--faults", default=60, show_default=True, type=click.IntRange(0))
@click.option("--only", multiple=True, type=click.Choice(list(FAULTS)), help="Only such faults.")
@click.option("--hosts", default=2, show_default=True, type=click.IntRange(1))
@click.option("--seed", type=int, help="That of the run to repeat; else one of chance.")
@click.option("--var", default="var", envvar="VAR", type=click.Path(path_type=Path))
@click.option("--keep", is_flag=True, help="Keep what the parts said, and say where.")
def main(
    jobs: int,
    faults: int,
    only: tuple[str, ...],
    hosts: int,
    seed: int | None,
    var: Path,
    keep: bool,
) -> None:
    try:
        network.enter_hub()
        report = Report(seed if seed is not None else random.randrange(10**6), jobs)
        click.echo(f"seed {report.seed}")
        directory = Path(tempfile.mkdtemp(prefix="chaos-", dir=var.absolute()))
        _run(report, var.absolute(), directory, hosts, plan(report.seed, faults, only))
        if keep:
            click.echo(f"what the parts said is in {directory}/logs")
        else:
            shutil.rmtree(directory)
    except ChaosFailed as error:
        sys.exit(f"chaos: {error}")
    report.save(RESULTS)
    click.echo("\n".join(report.lines()))
    sys.exit(1 if report.broken else 0)


def plan(seed: int, count: int, only: tuple[str, ...]) -> list[str]:
    """Every kind as often as any other, in an order of chance."""
    kinds = list(only or FAULTS)
    names = [kinds[n % len(kinds)] for n in range(count)]
    random.Random(seed).shuffle(names)
    return names


def _run(report: Report, var: Path, directory: Path, hosts: int, plan: list[str]) -> None:
    begun = time.monotonic()
    with fleet.running(var, directory, hosts) as all_of_it:
        facts = facts_of(all_of_it.config.database.url)
        tokens = [fleet.create_token(all_of_it, user) for user in USERS]
        rng = random.Random(report.seed)
        with load.submitting(all_of_it.origin, tokens, report.jobs, rng) as jobs:
            for name in plan:
                time.sleep(rng.uniform(*PAUSE_SECONDS))
                if blow := _strike(name, all_of_it, facts, rng):
                    report.blows.append(blow)
                    click.echo(_told(blow))
            _await_rest(facts, jobs)
        _judge(report, all_of_it, facts, jobs, tokens[0])
    report.seconds = time.monotonic() - begun
    report.broken += promises.too_slow(report.blows)
    report.broken += promises.left_behind(directory)


def _strike(name: str, hit: Fleet, facts: Facts, rng: random.Random) -> Blow | None:
    """Break something and measure how long the service takes; None where nothing was to be broken,
    again and again."""
    for _ in range(ATTEMPTS):
        begun = time.monotonic()
        damage = FAULTS[name](hit, facts, rng)
        if damage:
            return _measure(name, damage, hit, facts, begun)
        time.sleep(RETRY_SECONDS)
    click.echo(f"{name}: there was nothing to hit")
    return None


def _measure(name: str, damage: Damage, hit: Fleet, facts: Facts, begun: float) -> Blow:
    """Until the runs that were hit are seen to, what was broken is mended, and the queue moves.

    How long a killed PostgreSQL takes to recover is its disk's affair, and nobody can take a job
    meanwhile: the queue stands still from the first answer on that says so.
    """
    mending = threading.Thread(target=damage.mend)
    mending.start()
    others = [host.name for host in hit.hosts if host.name != damage.host]
    unresolved, resolved = list(damage.victims), None
    stood_still, stands_since = 0.0, None
    while time.monotonic() < begun + RECOVERY_SECONDS:
        unresolved = [run for run in unresolved if facts.still_runs(run)]
        if damage.victims and not unresolved and resolved is None:
            resolved = time.monotonic() - begun
        if facts.is_waiting_in_vain(others, SLOTS):
            now = time.monotonic()
            stands_since = stands_since or now
            stood_still = max(stood_still, now - stands_since)
        else:
            stands_since = None
        if not (unresolved or stands_since or mending.is_alive()):
            break
        time.sleep(POLL_SECONDS)
    mending.join()
    return Blow(name, len(damage.victims), resolved, stood_still, damage.hits_all)


def _told(blow: Blow) -> str:
    parts = [f"{blow.fault}:"]
    if blow.victims:
        seconds = "never" if blow.resolved is None else f"{blow.resolved:.1f} s"
        parts.append(f"{blow.victims} runs hit, seen to after {seconds}")
    parts.append(f"the queue stood still for {blow.stood_still:.1f} s")
    return " ".join(parts)


def _await_rest(facts: Facts, jobs: Load) -> None:
    deadline = time.monotonic() + REST_SECONDS
    load.await_submitted(jobs, REST_SECONDS)
    while facts.unfinished() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _judge(report: Report, judged: Fleet, facts: Facts, jobs: Load, token: str) -> None:
    for row in facts.rows("SELECT status, count(*) AS jobs FROM job GROUP BY status"):
        report.ended[row.status] = row.jobs
    [[report.begun_again]] = facts.rows("SELECT count(*) FROM job WHERE attempt > 1")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=judged.origin, headers=headers, timeout=30) as client:
        report.broken += promises.broken(facts, jobs, judged.seen, client)
    works = [Path(f"/proc/{host.network.holder}/root{host.work}") for host in judged.hosts]
    report.broken += _left_after_a_while(judged, facts, works)


def _left_after_a_while(judged: Fleet, facts: Facts, works: list[Path]) -> Iterator[str]:
    """A run's directory goes just before its job is over, that of one that was given up later."""
    redis = open_redis(judged.config.redis.url)
    deadline = time.monotonic() + RECOVERY_SECONDS
    while found := list(promises.left_at_rest(facts, redis, judged.s3, works)):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    redis.close()
    yield from found


if __name__ == "__main__":
    main()
