"""What was seen means for those whose jobs are run here. Touches nothing."""

from collections.abc import Iterator

from buildsrht.health import Health, Reason, Verdict, health_of
from buildsrht.health.looking import Service, Vitals
from buildsrht.queue import Slots
from buildsrht.services.waiting import WaitCode

# A janitor is heard every two seconds; another takes over after five.
JANITOR_SECONDS = 30
# A free slot takes a job at once, and after Redis was wiped within seconds.
STUCK_SECONDS = 60


def judge(vitals: Vitals) -> Health:
    return health_of(_reasons(vitals))


def _reasons(vitals: Vitals) -> Iterator[Reason]:
    if vitals.service is None:
        yield _failing("DATABASE_AWAY", "The database does not answer.")
    if vitals.slots is None:
        yield _failing("QUEUE_AWAY", "The queue does not answer: no job is begun.")
    if not vitals.storage:
        yield _failing("STORAGE_AWAY", "The storage cannot be written and read: no job ends.")
    if vitals.service:
        yield from _of_hosts(vitals.service, vitals.slots)
        yield from _of_waiting(vitals.service)
        yield from _of_others(vitals.service)


def _of_hosts(service: Service, slots: Slots | None) -> Iterator[Reason]:
    if not service.active or (slots and not slots.all):
        yield _failing("NO_HOST", "No build host is there that takes jobs.")
    elif slots and slots.paused == slots.all:
        yield _failing("HOSTS_PAUSED", "Every build host is short of room or drained.")
    elif slots and slots.paused:
        yield _degraded("SLOTS_PAUSED", f"{slots.paused} of {slots.all} slots are paused.")
    if service.silent:
        yield _degraded("HOST_SILENT", f"{service.silent} build hosts say nothing any more.")


def _of_waiting(service: Service) -> Iterator[Reason]:
    if any(WaitCode.NO_FITTING_HOST in job.why for job in service.waiting):
        yield _degraded("NO_FITTING_HOST", "A job waits that no build host can run.")
    stuck = [job.seconds for job in service.waiting if not job.why and job.seconds > STUCK_SECONDS]
    if stuck:
        minutes = max(stuck) / 60
        yield _degraded("JOB_STUCK", f"A job waits for {minutes:.0f} min and nothing keeps it.")


def _of_others(service: Service) -> Iterator[Reason]:
    silent = service.janitor_silent
    if silent is None or silent > JANITOR_SECONDS:
        yield _degraded("NO_JANITOR", "No janitor is there to see to what was lost.")
    if service.late_deliveries:
        yield _degraded("DELIVERIES_LATE", "Mail or webhooks are not sent in time.")
    if service.late_pushes:
        yield _degraded("PUSHES_LATE", "What forges report is not built in time.")


def _failing(code: str, text: str) -> Reason:
    return Reason(Verdict.FAILING, code, text)


def _degraded(code: str, text: str) -> Reason:
    return Reason(Verdict.DEGRADED, code, text)
