"""A copy of a file that is mostly holes: the same bytes, and the same holes."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import sparse
from worker.sparse import copy_sparsely, data_ranges

MIB = 2**20

pieces = st.lists(st.tuples(st.integers(0, 300_000), st.binary(min_size=1, max_size=9000)))


def make(path, size, pieces):
    """A file of `size` bytes that holds each piece at its place, and nothing else."""
    with path.open("wb") as file:
        for position, data in pieces:
            file.seek(position)
            file.write(data)
        file.truncate(size)
    return path


def taken_up(path):
    return path.stat().st_blocks * 512


@given(pieces=pieces, size=st.integers(0, 400_000))
def test_every_byte_is_where_it_was(tmp_path_factory, pieces, size):
    directory = tmp_path_factory.mktemp("sparse")
    source = make(directory / "source", size, pieces)
    copy_sparsely(source, directory / "target")
    assert (directory / "target").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("pieces", [[], [(0, b"first")], [(900 * MIB, b"last")]])
def test_what_was_a_hole_is_a_hole(tmp_path, pieces):
    source = make(tmp_path / "source", 1000 * MIB, pieces)
    if taken_up(source) > MIB:
        pytest.skip("this file system has no holes")
    copy_sparsely(source, tmp_path / "target")
    assert (tmp_path / "target").stat().st_size == 1000 * MIB
    assert taken_up(tmp_path / "target") <= taken_up(source)


def test_the_copy_is_another_file(tmp_path):
    source = make(tmp_path / "source", MIB, [(0, b"mine")])
    copy_sparsely(source, tmp_path / "target")
    make(tmp_path / "target", MIB, [(0, b"ours")])
    assert source.read_bytes()[:4] == b"mine"


def test_a_file_that_is_there_is_not_overwritten(tmp_path):
    source, target = make(tmp_path / "source", 1, []), make(tmp_path / "target", 1, [])
    with pytest.raises(FileExistsError):
        copy_sparsely(source, target)


@pytest.mark.timeout(20)
def test_a_source_that_shrinks_meanwhile_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    source = make(tmp_path / "source", MIB, [(0, b"x" * MIB)])

    def shrinking(file, size):
        for found in data_ranges(file, size):
            os.truncate(source, 100)
            yield found

    monkeypatch.setattr(sparse, "data_ranges", shrinking)
    with pytest.raises(OSError, match="source"):
        copy_sparsely(source, tmp_path / "target")
