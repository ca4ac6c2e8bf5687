"""The container of a kept machine: what goes in comes out, and nothing else does."""

import os
import struct

import pytest

from worker.kept import vault
from worker.kept.vault import Spoilt, lock_up, new_key, new_salt, unlock

MIB = 2**20
KEY = new_key()
HEADER = len(vault.MAGIC) + vault.SALT_BYTES
# Cannot be compressed, so each piece is somewhat larger than a MiB.
CONTENT = os.urandom(3 * MIB + 5)


def put(path, content=CONTENT, key=KEY, name="memory", step=10**9):
    rest = memoryview(content)

    def read(size):
        nonlocal rest
        taken, rest = rest[: min(size, step)], rest[min(size, step) :]
        return bytes(taken)

    with path.open("wb") as file:
        lock_up(read, file, key, new_salt(), name)
    return path


def get(path, key=KEY, name="memory"):
    with path.open("rb") as file:
        return b"".join(unlock(file, key, name))


def pieces(path):
    """The header, and each piece with its length."""
    data = path.read_bytes()
    found, at = [data[:HEADER]], HEADER
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append(data[at : at + 4 + length])
        at += 4 + length
    return found


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5])
def test_what_goes_in_comes_out(tmp_path, size):
    assert get(put(tmp_path / "kept", CONTENT[:size])) == CONTENT[:size]


def test_it_may_come_in_small_pieces_as_from_a_pipe(tmp_path):
    path = put(tmp_path / "kept", step=10_000)
    assert get(path) == CONTENT
    assert len(pieces(path)) == 5


def test_no_part_of_it_can_be_read_on_the_disk_and_zeros_take_up_no_room(tmp_path):
    text = b"something that nobody else may know"
    path = put(tmp_path / "kept", text + bytes(50 * MIB) + text)
    assert text not in path.read_bytes()
    assert path.stat().st_size < MIB


def test_the_same_twice_is_different_on_the_disk(tmp_path):
    one, two = put(tmp_path / "one"), put(tmp_path / "two")
    assert pieces(one)[1] != pieces(two)[1]


@pytest.mark.parametrize(
    ("key", "name"), [(new_key(), "memory"), (KEY, "disk")], ids=["key", "name"]
)
def test_another_key_or_name_does_not_open_it(tmp_path, key, name):
    with pytest.raises(Spoilt, match="piece 0 is not as it was written"):
        get(put(tmp_path / "kept"), key, name)


@pytest.mark.parametrize("at", [len(vault.MAGIC), HEADER + 4, HEADER + 4 + MIB, -1])
def test_a_bit_that_was_changed_is_noticed(tmp_path, at):
    path = put(tmp_path / "kept")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(Spoilt, match="is not as it was written"):
        get(path)


@pytest.mark.parametrize(
    "changed",
    [
        lambda header, a, b, c, d: [header, b, a, c, d],
        lambda header, a, b, c, d: [header, a, b, d],
        lambda header, a, b, c, d: [header, a, b, b, c, d],
        lambda header, a, b, c, d: [header, a, b, c],
        lambda header, a, b, c, d: [header, a, b, c, d, d],
        lambda header, a, b, c, d: [header, d],
    ],
    ids=["swapped", "left out", "twice", "last one cut off", "last one twice", "only the last"],
)
def test_pieces_in_another_order_or_number_are_noticed(tmp_path, changed):
    path = put(tmp_path / "kept")
    path.write_bytes(b"".join(changed(*pieces(path))))
    with pytest.raises(Spoilt, match="is not as it was written"):
        get(path)


def test_pieces_of_another_stream_with_the_same_key_are_noticed(tmp_path):
    one, two = put(tmp_path / "one"), put(tmp_path / "two")
    path = tmp_path / "mixed"
    path.write_bytes(b"".join([*pieces(one)[:2], *pieces(two)[2:]]))
    with pytest.raises(Spoilt, match="piece 1 is not as it was written"):
        get(path)


@pytest.mark.parametrize("left", [-1, HEADER + 2, HEADER + 4, HEADER + 100])
def test_a_file_that_was_cut_within_a_piece_is_noticed(tmp_path, left):
    path = put(tmp_path / "kept")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(Spoilt, match="was cut"):
        get(path)


@pytest.mark.parametrize("content", [b"", b"KEPT", b"something else altogether, and long enough"])
def test_what_was_never_locked_up_is_told_apart(tmp_path, content):
    path = tmp_path / "kept"
    path.write_bytes(content)
    with pytest.raises(Spoilt, match="is nothing that was locked up here"):
        get(path)


def test_a_stream_without_any_piece_is_noticed(tmp_path):
    path = put(tmp_path / "kept")
    path.write_bytes(pieces(path)[0])
    with pytest.raises(Spoilt, match="was cut"):
        get(path)


def test_a_length_that_no_piece_has_is_refused_before_it_is_read(tmp_path):
    path = put(tmp_path / "kept")
    path.write_bytes(pieces(path)[0] + struct.pack(">I", 2**32 - 1))
    with pytest.raises(Spoilt, match="was cut"):
        get(path)
