"""Copy a file that is mostly holes, without filling them."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path


def copy_sparsely(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        for start, end in data_ranges(reader.fileno(), size):
            while start < end:
                copied = os.copy_file_range(
                    reader.fileno(), writer.fileno(), end - start, start, start
                )
                if copied == 0:
                    raise OSError(errno.EIO, "It shrank while it was copied", str(source))
                start += copied


def data_ranges(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: beginnings and ends."""
    position = 0
    while position < size:
        try:
            start = os.lseek(file, position, os.SEEK_DATA)
        except OSError as error:
            # Nothing but a hole up to the end.
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(file, start, os.SEEK_HOLE)
        yield start, position
