"""Artifacts from a build host's and a janitor's side."""

import pytest
from sqlalchemy import func, update
from sqlalchemy.exc import OperationalError

from buildsrht.errors import Conflict
from buildsrht.models import Artifact, JobStatus
from buildsrht.services import artifacts, deletion, retention
from tests.build_host import claim, finish, keep


@pytest.fixture
def stored(config):
    """The files that storage holds."""
    return lambda: sorted(
        str(path.relative_to(config.storage.path))
        for path in config.storage.path.rglob("*")
        if path.is_file()
    )


def expire(backend, *artifact_ids):
    with backend.transaction() as session:
        session.execute(
            update(Artifact).where(Artifact.id.in_(artifact_ids)).values(expires=func.now())
        )
    retention.remove_expired(backend)
    deletion.erase_deleted(backend)


@pytest.fixture
def run(backend, make_job):
    """A run of a job, on a build host."""
    return claim(backend, make_job("queued").id, "host-1")


def test_an_artifact_is_kept_under_its_secret(backend, run, stored):
    artifact = keep(backend, run, "/home/build/hello.tar.gz", [b"ma", b"de"])

    assert (artifact.path, artifact.name) == ("/home/build/hello.tar.gz", "hello.tar.gz")
    assert artifact.size == 4
    assert stored() == [f"artifacts/1/{artifact.secret}"]


def test_two_artifacts_never_share_a_secret(backend, run):
    kept = [keep(backend, run, name, [b""]) for name in ("a", "b")]

    assert kept[0].secret != kept[1].secret


def test_a_transfer_that_breaks_off_keeps_nothing(backend, run, row_counts, stored):
    before = row_counts()

    def breaks_off():
        yield b"x" * 10_000_000
        raise ConnectionError("the guest is gone")

    with pytest.raises(ConnectionError, match="the guest is gone"):
        keep(backend, run, "out.bin", breaks_off())

    assert row_counts() == before
    assert stored() == []


def test_a_host_whose_job_was_ended_meanwhile_keeps_nothing(backend, run, row_counts, stored):
    finish(backend, run, JobStatus.FAILED)
    before = row_counts()

    with pytest.raises(Conflict, match="no longer run by host-1"):
        keep(backend, run, "out.bin", [b"late"])

    assert row_counts() == before
    assert stored() == []


def test_of_a_commit_whose_answer_got_lost_the_artifact_is_there_once(
    backend, run, row_counts, stored
):
    upload = artifacts.upload_artifact(backend, run, "out.bin", [b"made"])
    kept = artifacts.keep_artifact(backend, run, upload)
    before = row_counts()

    again = artifacts.keep_artifact(backend, run, upload)
    finish(backend, run, JobStatus.FAILED)
    long_after = artifacts.keep_artifact(backend, run, upload)

    assert {again.id, long_after.id} == {kept.id}
    assert row_counts()["artifact"] == before["artifact"]
    assert stored() == [f"artifacts/1/{kept.secret}"]


def test_while_the_database_does_not_say_what_was_uploaded_is_left(
    backend, run, stored, monkeypatch
):
    upload = artifacts.upload_artifact(backend, run, "out.bin", [b"made"])

    def away(*_):
        raise OperationalError("SELECT", {}, Exception("the connection was lost"))

    monkeypatch.setattr(artifacts, "require_ours", away)
    with pytest.raises(OperationalError):
        artifacts.keep_artifact(backend, run, upload)

    assert stored() == [f"artifacts/1/{upload.secret}"]


def test_an_artifact_goes_when_its_time_is_over_and_not_before(
    backend, make_job, keep_artifact, stored
):
    job = make_job("success")
    old, new = keep_artifact(job, "old"), keep_artifact(job, "new")

    expire(backend, old.id)
    assert stored() == [f"artifacts/1/{new.secret}"]


def test_the_row_of_an_artifact_outlives_its_bytes(backend, make_job, keep_artifact, owner):
    artifact = keep_artifact(make_job("success"))
    expire(backend, artifact.id)

    with backend.transaction() as session:
        [listed] = artifacts.list_artifacts(session, 1, owner)
    assert listed.deleted is not None


def test_bytes_that_are_gone_already_do_not_stop_the_others(
    backend, make_job, keep_artifact, stored
):
    job = make_job("success")
    kept = [keep_artifact(job, name) for name in ("a", "b")]
    backend.storage.delete(artifacts.storage_key(kept[0]))

    expire(backend, *[artifact.id for artifact in kept])
    assert stored() == []
