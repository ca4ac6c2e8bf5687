"""Real machines: what was going on in one goes on, a day or a crash later."""

import os
import time

import pytest

from buildsrht.models import JobStatus
from buildsrht.services import kept as service
from tests.worker.kept.visitor import Visitor, said
from tests.worker.outcome import outcome_of
from worker import machines
from worker.kept import frozen
from worker.kept.visits import open_machine
from worker.run_job import perform

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

MARK = "mark-of-" + os.urandom(12).hex()
SCRIPT = f"""
sudo mount -t tmpfs tmpfs /mnt
echo {MARK} | sudo tee /mnt/in-memory >on-disk
sync on-disk
(trap '' HUP; while :; do echo tick >>ticks; sleep 0.2; done) >/dev/null 2>&1 </dev/null &
exit 3
"""


def test_it_stands_still_in_no_clear_text_and_goes_on(host, host_config, make_kept_job):
    backend = host(host_config, linger="60s")
    config = backend.config
    job = make_kept_job(SCRIPT)
    begun = time.monotonic()
    perform(backend, job.id, machines.start)
    print("perform", time.monotonic() - begun)
    assert outcome_of(backend, job.id).status == JobStatus.FAILED
    print(outcome_of(backend, job.id).setup_log)
    kept = frozen.find(config, job.id)
    print("size", kept.size(), [(p.name, p.stat().st_size) for p in kept.state.iterdir()])
    begun = time.monotonic()
    path = open_machine(config, job.id)
    print("open", time.monotonic() - begun)
    print(said(path, "cat on-disk /mnt/in-memory; wc -l <ticks; date; sleep 1; wc -l <ticks"))
    print("said", time.monotonic() - begun)
    with Visitor(path, None, {"term": "xterm", "columns": 80, "rows": 24}) as v:
        v.wait_for(b"$")
        v.type(b"stty size; exit\n")
        print(v.end(), v.out)
    while frozen.find(config, job.id):
        time.sleep(0.1)
    print(service.find_machine(backend, job.id).reason)
