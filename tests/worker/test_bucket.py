"""Jobs whose artifacts and logs live in a bucket of a real S3 server, and an outage of it."""

import hashlib
import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from buildsrht import bucket, serving
from buildsrht.checks import Verdict, service
from buildsrht.logs import Logs
from buildsrht.models import Fault, JobStatus
from buildsrht.storage import open_storage
from tests.cut_link import link_to
from tests.worker.fakes import fake_boot, perform
from tests.worker.outcome import assert_nothing_is_left, outcome_of
from worker import machines, patience

# More than one part of an upload, and nothing that repeats.
SIZE = 6_000_000
MAKE = f"""python3 - <<'END'
import hashlib
with open("out.bin", "wb") as out:
    for number in range({SIZE} // 32):
        out.write(hashlib.sha256(b"%d" % number).digest())
END
echo made"""
MADE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(SIZE // 32))


@pytest.fixture
def config(config, s3, tmp_path):
    return replace(config, storage=s3.settings(tmp_path, tmp_path.name))


def assert_all_is_in_the_bucket(backend, s3, tmp_path):
    job, artifact = "logs/1/", "artifacts/1/"
    kept = [key.removeprefix(f"{tmp_path.name}/") for key in s3.keys(f"{tmp_path.name}/")]
    assert {key[: len(job)] for key in kept if not key.startswith(artifact)} == {job}
    assert len([key for key in kept if key.startswith(artifact)]) == 1
    assert s3.unfinished(tmp_path.name) == []
    assert not backend.config.storage.path.exists()


def assert_downloads(client_of, owner):
    client = client_of(owner)
    [listed] = client.get("/api/jobs/1/artifacts").json["results"]
    url = listed["url"].removeprefix("http://127.0.0.1:5002")
    assert client.get(url).data == MADE
    part = client.get(url, headers={"Range": "bytes=1048570-5242890"})
    assert (part.status_code, part.data) == (206, MADE[1048570:5242891])


@pytest.mark.parametrize(
    "boot", ["fake", pytest.param("real", marks=[pytest.mark.vm, pytest.mark.timeout(900)])]
)
def test_a_job_leaves_artifacts_and_logs_in_the_bucket_alone(
    request, boot, backend, make_job, client_of, owner, s3, tmp_path
):
    if boot == "real":
        host = request.getfixturevalue("host_config")
        config = replace(backend.config, images=host.images, snapshots=host.snapshots)
        backend = replace(backend, config=config)
    manifest = {"image": "debian/trixie", "artifacts": ["out.bin"], "tasks": [{"make": MAKE}]}

    job = make_job(manifest=json.dumps(manifest))
    perform(backend, job.id, machines.start if boot == "real" else fake_boot)

    outcome = outcome_of(backend, job.id)
    assert outcome.status == JobStatus.SUCCESS, outcome
    assert outcome.logs["make"].endswith("\nmade\n")
    assert_nothing_is_left(backend)
    assert_all_is_in_the_bucket(backend, s3, tmp_path)
    assert_downloads(client_of, owner)


def behind(backend, link):
    """The same, with this link between the service and its bucket."""
    settings = replace(backend.config.storage, endpoint=link.endpoint)
    kept = open_storage(settings)
    config = replace(backend.config, storage=settings)
    return replace(
        backend, config=config, storage=kept, logs=Logs(backend.redis, kept, backend.engine)
    )


@pytest.fixture
def impatient(monkeypatch):
    for name in ("READ_PATIENCE", "WRITE_PATIENCE"):
        monkeypatch.setattr(bucket, name, timedelta(seconds=1))


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_is_away_for_a_while_costs_no_job_its_success(
    backend, make_job, s3, monkeypatch
):
    was_missed = threading.Event()
    with link_to(s3.address) as link:
        link.is_down = True
        apart = behind(backend, link)

        def pause(seconds):
            # It is asked again only after it was away for longer than storage itself is patient.
            was_missed.set()
            link.is_down = False

        monkeypatch.setattr(patience.time, "sleep", pause)
        job = make_job(manifest="image: debian/trixie\ntasks:\n- make: echo made\n")
        perform(apart, job.id, fake_boot)

        assert was_missed.is_set()
    outcome = outcome_of(backend, job.id)
    assert (outcome.status, outcome.logs["make"]) == (
        JobStatus.SUCCESS,
        "+ echo made\nmade\n",
    )


@pytest.mark.usefixtures("impatient")
def test_an_artifact_that_cannot_be_kept_is_the_services_fault(backend, make_job, s3, fetch):
    with link_to(s3.address) as link:
        link.is_down = True
        apart = behind(backend, link)
        # Its logs reach the bucket, so that the job can be ended.
        apart = replace(apart, logs=backend.logs)
        manifest = "image: debian/trixie\nartifacts: [out]\ntasks:\n- make: echo made >out\n"
        job = make_job(manifest=manifest)
        perform(apart, job.id, fake_boot)

    ended = fetch(job.id)
    assert (ended.status, ended.fault) == (JobStatus.FAILED, Fault.SERVICE)
    assert "\ns3://builds/" in outcome_of(backend, job.id).setup_log


@pytest.mark.usefixtures("impatient")
def test_readers_are_told_to_try_again(app, backend, make_job, keep_artifact, client_of, owner, s3):
    keep_artifact(make_job("success"), "/home/build/out", b"made")
    client = client_of(owner)
    [listed] = client.get("/api/jobs/1/artifacts").json["results"]
    with link_to(s3.address) as link:
        link.is_down = True
        serving.install(app, behind(backend, link))
        answer = client.get(listed["url"].removeprefix("http://127.0.0.1:5002"))

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    reason = "the storage does not answer; try again in a moment"
    assert answer.json == {"errors": [{"reason": reason}]}


def test_a_check_finds_the_bucket_and_asks_nothing_of_the_directory(backend, s3, tmp_path):
    found = {each.what: each for each in service.check(backend.config, service.PARTS)}

    assert found["storage"].verdict == Verdict.GOOD
    assert "[storage] path" not in found
    assert s3.keys(f"{tmp_path.name}/") == []


def test_a_check_says_why_a_bucket_cannot_be_used(backend):
    missing = replace(backend.config.storage, url="s3://nobodys")
    config = replace(backend.config, storage=missing)

    found = {each.what: each for each in service.check(config, ["courier"])}

    assert found["storage"].verdict == Verdict.BAD
    assert "s3://nobodys: no such bucket" in found["storage"].said
