"""Storage: what is there is complete, and comes out as it went in, by any range."""

import hashlib

import pytest

from buildsrht import storage as storage_module
from buildsrht.storage import Storage


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "storage")


def read(storage, key, start, end):
    return b"".join(storage.read(key, start, end))


@pytest.mark.parametrize("size", [0, 1, 1000, 12 * 1024 * 1024 + 1])
def test_what_goes_in_comes_out_and_is_measured(storage, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    chunks = [data[offset : offset + 1_000_000] for offset in range(0, size, 1_000_000)]

    stored = storage.put("logs/1/setup", chunks)

    assert stored == (size, hashlib.sha256(data).digest())
    assert read(storage, "logs/1/setup", 0, size) == data


@pytest.mark.parametrize(("start", "end"), [(0, 10), (0, 1), (3, 7), (9, 10), (5, 5), (7, 3)])
def test_any_range_can_be_read(storage, start, end):
    storage.put("key", [b"0123456789"])

    assert read(storage, "key", start, end) == b"0123456789"[start:end]


def test_a_large_object_is_read_in_pieces(storage):
    size = 4 * storage_module.READ_CHUNK
    storage.put("key", [b"x" * size])

    pieces = [len(piece) for piece in storage.read("key", 0, size)]

    assert len(pieces) > 1
    assert sum(pieces) == size


def test_a_key_may_be_written_again(storage):
    storage.put("key", [b"long before"])
    storage.put("key", [b"now"])

    assert read(storage, "key", 0, 3) == b"now"


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_write_that_fails_leaves_the_key_as_it_was(storage, tmp_path, before):
    if before:
        storage.put("key", [before])

    def breaks_off():
        yield b"x" * 12_000_000
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        storage.put("key", breaks_off())

    left = [path.read_bytes() for path in (tmp_path / "storage").rglob("*") if path.is_file()]
    assert left == ([before] if before else [])


def test_a_key_that_is_not_there_is_told_before_anything_is_read(storage):
    with pytest.raises(FileNotFoundError):
        storage.read("key", 0, 1)


def test_a_deleted_key_is_gone_and_may_be_deleted_again(storage):
    storage.put("key", [b"data"])

    for _ in range(2):
        storage.delete("key")

    with pytest.raises(FileNotFoundError):
        storage.read("key", 0, 1)
