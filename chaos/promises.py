"""Whether what was promised was kept, found out after everything has come to rest.

Each check tells what it found wrong, a sentence each; none is what is hoped for. What counts is
what the database says, what logs and artifacts are, what readers and the witness noted, and what
is left.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from buildsrht.health.looking import PROBE
from chaos.facts import Facts
from chaos.load import ARTIFACT, Load, expected_log
from chaos.report import Blow
from chaos.witness import Witness
from tests.s3_server import S3Server
from tests.worker.outcome import keys_that_stay
from worker.janitor import pids_naming

# What the last line of a log says of a job that was ended by no script of its own.
WHY = ("died.", "was lost", "lost the job", "did not end it.", "No space left", "internal error")


# From a fault until its last run is seen to, and how long the death of one part may hold up others.
RESOLVED_SECONDS = 30
STILL_SECONDS = 5


def too_slow(blows: Iterable[Blow]) -> Iterator[str]:
    for blow in blows:
        if blow.victims and (blow.resolved is None or blow.resolved > RESOLVED_SECONDS):
            yield f"{blow.fault}: a run that was hit was not seen to within {RESOLVED_SECONDS} s"
        if blow.stood_still > STILL_SECONDS and not blow.hits_all:
            yield f"{blow.fault}: the queue stood still for {blow.stood_still:.1f} s"


def broken(facts: Facts, load: Load, seen: Witness, client: httpx.Client) -> Iterator[str]:
    yield from _every_job_is_over(facts, load)
    yield from _no_script_began_twice(facts, seen)
    yield from _no_failure_is_the_builds(facts)
    yield from _logs_and_artifacts_are_whole(facts, client)
    yield from _nothing_that_was_seen_is_lost(client, load)


def _every_job_is_over(facts: Facts, load: Load) -> Iterator[str]:
    yield from (f"a submission was refused: {text}" for text in load.refused)
    acknowledged = set(load.job_ids)
    if len(acknowledged) < load.wanted:
        yield f"{len(acknowledged)} of {load.wanted} submissions were acknowledged"
    there = {row.id for row in facts.rows("SELECT id FROM job")}
    if there != acknowledged:
        yield f"{len(acknowledged)} jobs were acknowledged, and there are {len(there)}"
    for row in facts.rows("SELECT id, status FROM job WHERE finished IS NULL"):
        yield f"job {row.id} is still {row.status}"


def _no_script_began_twice(facts: Facts, seen: Witness) -> Iterator[str]:
    if not seen.begun:
        yield "the witness heard of no task at all"
    yield from (f"task {said} began {n} times" for said, n in seen.begun.items() if n > 1)
    moved = facts.rows(
        "SELECT job_id, task_id, count(*) AS times FROM job_event"
        " WHERE task_status = 'running' GROUP BY job_id, task_id HAVING count(*) > 1"
    )
    for row in moved:
        yield f"task {row.task_id} of job {row.job_id} was moved to running {row.times} times"


def _no_failure_is_the_builds(facts: Facts) -> Iterator[str]:
    """As no script of ours fails by itself."""
    for row in facts.rows("SELECT id, status, fault FROM job WHERE status <> 'success'"):
        if row.fault != "service":
            yield f"job {row.id} ended as {row.status}, and that is said to be its {row.fault}'s"


def _logs_and_artifacts_are_whole(facts: Facts, client: httpx.Client) -> Iterator[str]:
    for row in facts.rows("SELECT id FROM job WHERE finished IS NOT NULL ORDER BY id"):
        job = client.get(f"/api/jobs/{row.id}").raise_for_status().json()
        setup = client.get(job["setup_log"])
        if setup.headers.get("X-Log-Complete") != "true":
            yield f"the setup log of job {row.id} is not complete"
        if job["status"] == "success":
            yield from _is_whole(client, job)
        elif not any(_says_why(log) for log in (setup.text, *_task_logs(client, job))):
            yield f"no log of job {row.id}, which is {job['status']}, ends with the reason"


def _is_whole(client: httpx.Client, job: dict[str, Any]) -> Iterator[str]:
    for task, log in zip(job["tasks"], _task_logs(client, job), strict=True):
        if task["status"] != "success" or not log.endswith(expected_log(task["name"])):
            yield f"the log of task {task['name']} of job {job['id']} is not what it wrote"
    kept = client.get(f"/api/jobs/{job['id']}/artifacts").raise_for_status().json()["results"]
    if [each["path"] for each in kept] != [ARTIFACT]:
        yield f"job {job['id']} has the artifacts {kept}"


def _task_logs(client: httpx.Client, job: dict[str, Any]) -> list[str]:
    """Of the tasks that were begun."""
    answers = [client.get(task["log"]) for task in job["tasks"]]
    return [answer.text for answer in answers if answer.status_code == httpx.codes.OK]


def _says_why(log: str) -> bool:
    last_line = log.rstrip("\n").rpartition("\n")[2]
    return any(words in last_line for words in WHY)


def _nothing_that_was_seen_is_lost(client: httpx.Client, load: Load) -> Iterator[str]:
    for address, seen in load.seen.items():
        if not client.get(address).content.startswith(seen):
            yield f"{address}: {len(seen)} bytes that a reader saw are not its beginning"


def left_at_rest(facts: Facts, redis: Redis, s3: S3Server, works: Sequence[Path]) -> Iterator[str]:
    """What is left of jobs while nothing is stopped yet. Spares belong to no job."""
    yield from (f"Redis still has {key}" for key in keys_that_stay(redis))
    yield from (f"the upload of {key} is neither ended nor given up" for key in s3.unfinished(""))
    yield from (f"nobody knows of {key}" for key in set(s3.keys("")) - _known_keys(facts))
    for work in works:
        for path in work.iterdir():
            if not path.name.startswith("spare-"):
                yield f"{path.name} is left in {work.name}"


def _known_keys(facts: Facts) -> set[str]:
    """Of all that rows say is in storage, and of its probe."""
    artifacts = facts.rows("SELECT job_id, secret FROM artifact")
    logs = facts.rows("SELECT job_id, coalesce(task_id::text, 'setup') AS name, writer FROM log")
    sealed = [f"logs/{row.job_id}/{row.name}-{row.writer}" for row in logs]
    kept = [f"artifacts/{row.job_id}/{row.secret}" for row in artifacts]
    return {*sealed, *(f"{key}.marks" for key in sealed), *kept, PROBE}


def left_behind(directory: Path) -> Iterator[str]:
    """What is left after all was stopped."""
    for pid in pids_naming(f"{directory}/"):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        yield f"process {pid} is left: {command}"
