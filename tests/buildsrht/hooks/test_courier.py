"""From the forge's request to a job in the queue, with a real courier in between."""

import signal
import time

from buildsrht.models import Job, PushStatus
from buildsrht.services import hooks as hook_service
from tests.buildsrht.cli.program import start
from tests.buildsrht.hooks.reports import encoded, github_headers, github_push

MANIFEST = "image: debian\ntasks:\n- build: make\n"
WAIT_SECONDS = 60


def test_a_push_that_a_forge_reports_is_a_job_soon_after(
    forge, make_hook, client, backend, elsewhere, fetch_push, fetch
):
    commit = forge.push({".build.yml": MANIFEST})
    hook = make_hook()
    body = encoded(github_push(commit=commit))
    headers = github_headers(hook_service.reveal_proof(backend, hook), body)

    path = f"/hooks/{hook.uuid}"
    answer = client.post(path, data=body, headers=headers, content_type="application/json")
    with start("courier", "--count", "1", env=elsewhere, stderr=None) as courier:
        try:
            push = wait_until_done(fetch_push, answer.json["push"])
        finally:
            courier.send_signal(signal.SIGTERM)
            courier.wait(WAIT_SECONDS)

    assert (push.status, push.attempts, len(push.job_ids)) == (PushStatus.BUILT, 1, 1)
    job: Job = fetch(push.job_ids[0])
    assert f"#{commit}" in job.manifest
    assert backend.queue.enqueued_ids() == {job.id}


def wait_until_done(fetch_push, push_id):
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        push = fetch_push(push_id)
        if push.status != PushStatus.WAITING:
            return push
        time.sleep(0.1)
    raise AssertionError(f"the push waits: {push.reason}")
