"""Whether each build host is well, by what is known of it. Asks nothing but the database."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from buildsrht.health import Health, Reason, Verdict, health_of
from buildsrht.models import RunnerState
from buildsrht.services import runners
from buildsrht.services.runners import Host

# Of the last jobs that a host had, so many may have failed by the service's fault.
TOLERATED = 2


def judged(session: Session) -> list[tuple[Host, Health]]:
    """All that were heard of lately, in the order of their names, and how each is."""
    faults = runners.count_faults(session)
    return [(host, judge(host, faults.get(host.name, 0))) for host in runners.list_runners(session)]


def judge(host: Host, faults: int) -> Health:
    """`faults`: how many of the last jobs that ran there failed by this service's fault."""
    return health_of(_reasons(host, faults))


def _reasons(host: Host, faults: int) -> Iterator[Reason]:
    if host.state == RunnerState.RETIRED:
        return
    if host.is_silent:
        yield Reason(Verdict.FAILING, "SILENT", "It says nothing: its janitor does not run.")
        return
    yield from _of_itself(host)
    if faults > TOLERATED:
        yield Reason(
            Verdict.DEGRADED,
            "FAULTS",
            f"{faults} of the last jobs here failed by this service's fault.",
        )


def _of_itself(host: Host) -> Iterator[Reason]:
    slots = host.facts.get("slots") or {}
    disk = host.facts.get("disk") or {}
    memory = host.facts.get("memory") or {}
    if not host.facts.get("images"):
        yield Reason(Verdict.FAILING, "NO_IMAGE", "No image is built there.")
    if slots and not slots["all"]:
        yield Reason(Verdict.FAILING, "NO_WORKER", "No worker runs there.")
    if disk and disk["free"] < disk["reserve"]:
        yield Reason(Verdict.FAILING, "DISK_SHORT", "Its disk is short: it takes no job.")
    if memory and memory["available"] < memory["reserve"]:
        yield Reason(Verdict.FAILING, "MEMORY_SHORT", "Its memory is short: it takes no job.")
    if host.state == RunnerState.DRAINING:
        yield Reason(Verdict.DEGRADED, "DRAINING", "It is being drained: it takes no job.")
