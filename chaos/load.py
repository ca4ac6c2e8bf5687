"""The jobs of a run: who submits them, and who reads their logs while they grow.

A submission is repeated, with the same idempotency key, until it is acknowledged: from then on it
counts. Readers note every byte that they were shown.
"""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from chaos.network import HUB
from chaos.witness import PORT

LINES = 10
TASKS = ("first", "second")
ARTIFACT = "made"
REQUEST_SECONDS = 10
PAUSE_SECONDS = 0.2
READERS = 4
# Say to the witness that this task begins; a host that is cut off cannot, which holds up nothing.
TELL = f"timeout 2 bash -c 'exec 3<>/dev/tcp/{HUB}/{PORT} && echo $JOB_ID {{task}} >&3' || true"


def manifest(seconds: float) -> str:
    """Two tasks that take so long, and say a known number of lines."""
    pause = seconds / len(TASKS) / LINES
    scripts = {task: [TELL.format(task=task), _talk(task, pause)] for task in TASKS}
    scripts[TASKS[-1]].append(f"seq 1000 > {ARTIFACT}")
    tasks = "".join(
        f"- {task}: |\n" + "".join(f"    {line}\n" for line in ("set +x", *lines))
        for task, lines in scripts.items()
    )
    return f"image: debian/stable\nartifacts: [{ARTIFACT}]\ntasks:\n{tasks}"


def _talk(task: str, pause: float) -> str:
    return f"for i in $(seq {LINES}); do echo {task} $i; sleep {pause:.3f}; done"


def expected_log(task: str) -> str:
    return "".join(f"{task} {n + 1}\n" for n in range(LINES))


@dataclass
class Load:
    """What was accepted and what was read; grows while the run lasts."""

    wanted: int
    job_ids: list[int] = field(default_factory=list)
    # By its address, what somebody has seen of a log.
    seen: dict[str, bytes] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def is_submitted(self) -> bool:
        return len(self.job_ids) + len(self.refused) >= self.wanted


@contextmanager
def submitting(origin: str, tokens: list[str], wanted: int, rng: random.Random) -> Iterator[Load]:
    """Submit so many jobs, the users in turn, and read logs, until the block ends."""
    load = Load(wanted)
    over = threading.Event()
    plans = [(tokens[n % len(tokens)], manifest(rng.uniform(0.5, 6))) for n in range(wanted)]
    threads = [threading.Thread(target=_submit, args=(origin, plans, load, over))]
    threads += [
        threading.Thread(target=_read, args=(origin, tokens[0], load, over, n))
        for n in range(READERS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _submit(origin: str, plans: list[tuple[str, str]], load: Load, over: threading.Event) -> None:
    with httpx.Client(base_url=origin, timeout=REQUEST_SECONDS) as client:
        for number, (token, text) in enumerate(plans):
            headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"chaos-{number}"}
            while not over.is_set():
                response = _send(client, headers, text)
                if response is not None and response.status_code == 200:
                    load.job_ids.append(response.json()["id"])
                    break
                if response is not None and response.status_code < 500:
                    load.refused.append(response.text)
                    break
                over.wait(PAUSE_SECONDS)


def _send(client: httpx.Client, headers: dict[str, str], text: str) -> httpx.Response | None:
    """None if nobody answered."""
    try:
        return client.post("/api/jobs", headers=headers, json={"manifest": text})
    except httpx.TransportError:
        return None


def _read(origin: str, token: str, load: Load, over: threading.Event, number: int) -> None:
    """Follow one job after another, each as far as it gets until a later one is to be had."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=origin, timeout=REQUEST_SECONDS, headers=headers) as client:
        for position in itertools.count(number, READERS):
            while position >= len(load.job_ids):
                if over.wait(PAUSE_SECONDS):
                    return
            _follow(client, load.job_ids[position], load, over)


def _follow(client: httpx.Client, job_id: int, load: Load, over: threading.Event) -> None:
    while not over.wait(PAUSE_SECONDS):
        try:
            job = client.get(f"/api/jobs/{job_id}").raise_for_status().json()
            for log in (job["setup_log"], *(task["log"] for task in job["tasks"])):
                _read_on(client, log, load)
        except (httpx.TransportError, httpx.HTTPStatusError):
            continue
        if job["status"] not in ("pending", "queued", "running"):
            return


def _read_on(client: httpx.Client, log: str, load: Load) -> None:
    seen = load.seen.get(log, b"")
    response = client.get(log, headers={"Range": f"bytes={len(seen)}-"})
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        load.seen[log] = seen + response.content


def await_submitted(load: Load, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not load.is_submitted and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return load.is_submitted
