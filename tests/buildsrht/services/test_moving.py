"""Finished bytes go from a directory to a bucket, and what rows name has arrived there."""

from dataclasses import replace

import pytest

from buildsrht.services import moving
from buildsrht.storage import open_storage


@pytest.fixture
def moved(backend, s3, tmp_path):
    """The same service once its configuration names a bucket."""
    return replace(backend, storage=open_storage(s3.settings(tmp_path, tmp_path.name)))


@pytest.fixture
def keys(backend, make_job, write_log, keep_artifact):
    """What is stored of a job: two logs with their marks, and an artifact."""
    job = make_job("success")
    write_log(job, None, b"set up\n", seal=True)
    write_log(job, "build", b"built\n", seal=True)
    keep_artifact(job, data=bytes(range(256)) * 40_000)
    return set(backend.storage.keys(""))


def problems(service):
    return {key: problem for key, problem in moving.verify(service) if problem}


def test_all_of_it_is_copied_and_is_what_the_database_says(backend, moved, keys):
    assert set(moving.copy_missing(backend.config.storage.path, moved.storage)) == keys

    assert set(moved.storage.keys("")) == keys
    assert len(list(moving.verify(moved))) == 3
    assert problems(moved) == {}
    assert set(backend.storage.keys("")) == keys


def test_what_was_interrupted_goes_on(backend, moved, keys):
    first = next(moving.copy_missing(backend.config.storage.path, moved.storage))

    rest = set(moving.copy_missing(backend.config.storage.path, moved.storage))

    assert rest == keys - {first}
    assert set(moving.copy_missing(backend.config.storage.path, moved.storage)) == set()
    assert problems(moved) == {}


def test_what_is_missing_or_differs_is_found(backend, moved, keys):
    list(moving.copy_missing(backend.config.storage.path, moved.storage))
    [artifact] = [key for key in keys if key.startswith("artifacts/")]
    [log, _marks] = sorted(key for key in keys if key.startswith("logs/1/setup"))
    moved.storage.put(artifact, [b"x" * 256 * 40_000])
    moved.storage.delete(log)

    assert problems(moved) == {artifact: "is not what the database says", log: "is missing"}


def test_an_object_that_is_shorter_than_its_row_says_is_found(backend, moved, keys):
    list(moving.copy_missing(backend.config.storage.path, moved.storage))
    [artifact] = [key for key in keys if key.startswith("artifacts/")]
    moved.storage.put(artifact, [b"short"])

    assert problems(moved) == {artifact: "has 5 bytes, and the database says 10240000"}


def test_what_is_being_written_is_not_copied(backend, moved, keys):
    begun = backend.config.storage.path / "logs/1/begun#1"
    begun.write_bytes(b"half of")

    assert set(moving.copy_missing(backend.config.storage.path, moved.storage)) == keys
