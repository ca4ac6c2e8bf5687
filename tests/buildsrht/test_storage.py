"""Storage: what is there is complete, and comes out as it went in, by any range.

One specification for both places: a directory, and a bucket of a real server.
"""

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from buildsrht import bucket as bucket_module
from buildsrht import config as settings
from buildsrht import storage as storage_module
from buildsrht.storage import Storage, open_storage

PATIENCE_SECONDS = 60


@dataclass
class Place:
    """A storage, and what is in it by another way."""

    settings: settings.Storage
    storage: Storage

    def finished(self):
        return self.storage.keys("jobs/")

    def unfinished(self):
        raise NotImplementedError


class DirectoryPlace(Place):
    def unfinished(self):
        return [path.name for path in self.settings.path.rglob("*#*")]


class BucketPlace(Place):
    def unfinished(self):
        prefix = self.settings.url.removeprefix("s3://").partition("/")[2]
        return self.server.unfinished(prefix)


@pytest.fixture(params=["directory", "bucket"])
def place(request, tmp_path):
    if request.param == "directory":
        chosen = settings.load({"VAR": str(tmp_path)}).storage
        return DirectoryPlace(chosen, open_storage(chosen))
    server = request.getfixturevalue("s3")
    chosen = server.settings(tmp_path, tmp_path.name)
    place = BucketPlace(chosen, open_storage(chosen))
    place.server = server
    return place


@pytest.fixture
def storage(place):
    return place.storage


def read(storage, key, start, end):
    return b"".join(storage.read(key, start, end))


@pytest.mark.parametrize("size", [0, 1, 1000, 12 * 1024 * 1024 + 1])
def test_what_goes_in_comes_out_and_is_measured(storage, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    chunks = [data[offset : offset + 1_000_000] for offset in range(0, size, 1_000_000)]

    stored = storage.put("logs/1/setup", chunks)

    assert stored == (size, hashlib.sha256(data).digest())
    assert read(storage, "logs/1/setup", 0, size) == data


def test_a_loss_of_power_takes_nothing_of_what_was_written(tmp_path, monkeypatch):
    directory = settings.load({"VAR": str(tmp_path)}).storage
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )

    open_storage(directory).put("logs/1/setup", [b"said"])

    names = ["logs/1/setup", "logs/1", "logs", ""]
    assert synced == [str(directory.path / name) for name in names]


@pytest.mark.parametrize(("start", "end"), [(0, 10), (0, 1), (3, 7), (9, 10), (5, 5), (7, 3)])
def test_any_range_can_be_read(storage, start, end):
    storage.put("key", [b"0123456789"])

    assert read(storage, "key", start, end) == b"0123456789"[start:end]


def test_a_large_object_is_read_in_pieces(storage):
    size = 4 * max(storage_module.READ_CHUNK, bucket_module.READ_PIECE)
    storage.put("key", [b"x" * size])

    pieces = [len(piece) for piece in storage.read("key", 0, size)]

    assert len(pieces) > 1
    assert sum(pieces) == size


def test_a_key_may_be_written_again(storage):
    storage.put("key", [b"long before"])
    storage.put("key", [b"now"])

    assert read(storage, "key", 0, 3) == b"now"


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_write_that_fails_leaves_the_key_as_it_was(place, before):
    if before:
        place.storage.put("jobs/key", [before])

    def breaks_off():
        yield b"x" * 12_000_000
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        place.storage.put("jobs/key", breaks_off())

    assert place.finished() == (["jobs/key"] if before else [])
    assert place.unfinished() == []
    if before:
        assert place.storage.read_all("jobs/key") == before


def test_a_missing_file_of_the_writer_is_not_blamed_on_the_storage(storage, tmp_path):
    def chunks():
        yield (tmp_path / "absent").read_bytes()

    with pytest.raises(FileNotFoundError, match="absent"):
        storage.put("key", chunks())


WRITER = """
import sys, time
from pathlib import Path
from buildsrht import config
from buildsrht.storage import open_storage
storage = open_storage(config.load().storage)
def chunks():
    yield b"x" * 16_000_000
    print("begun", flush=True)
    while True:
        yield b"x" * 1000
        time.sleep(0.01)
storage.put("jobs/1/key", chunks())
"""


def begin_to_write_and_die(place, tmp_path):
    written = "".join(
        f"{name} = {getattr(place.settings, name) or ''}\n"
        for name in ("path", "url", "endpoint", "access_key", "secret_key_file")
    )
    (tmp_path / "config.ini").write_text("[storage]\n" + written)
    environ = {"BUILDSRHT_CONFIG": str(tmp_path / "config.ini"), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout.readline() == b"begun\n"
        finally:
            writer.send_signal(signal.SIGKILL)


def test_what_a_killed_writer_had_begun_is_removed_where_it_was_begun(place, tmp_path):
    begin_to_write_and_die(place, tmp_path)
    assert len(place.unfinished()) == 1

    place.storage.discard_unfinished("jobs/2/")
    place.storage.discard_unfinished("jobs/")
    assert len(place.unfinished()) == 1

    place.storage.discard_unfinished("jobs/1/")
    assert place.unfinished() == []
    assert place.finished() == []


@pytest.mark.parametrize("place", ["bucket"], indirect=True)
def test_of_an_upload_that_was_begun_twice_as_its_server_died_nothing_is_left(place, tmp_path):
    begin_to_write_and_die(place, tmp_path)
    assert len(place.unfinished()) == 1

    place.storage.put("jobs/1/key", [b"x" * 6_000_000])

    assert (place.finished(), place.unfinished()) == (["jobs/1/key"], [])


def test_keys_are_those_below_a_prefix(storage):
    for key in ("jobs/1/a", "jobs/1/b/c", "jobs/12/a"):
        storage.put(key, [b""])

    assert sorted(storage.keys("jobs/1/")) == ["jobs/1/a", "jobs/1/b/c"]


def test_a_key_that_is_not_there_is_told_before_anything_is_read(storage):
    with pytest.raises(FileNotFoundError):
        storage.read("key", 0, 1)


def test_a_deleted_key_is_gone_and_may_be_deleted_again(storage):
    storage.put("key", [b"data"])

    for _ in range(2):
        storage.delete("key")

    with pytest.raises(FileNotFoundError):
        storage.read("key", 0, 1)
