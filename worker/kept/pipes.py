"""Between QEMU, which reads and writes descriptors, and Python, which makes and takes bytes."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def passed_on_to(take: Callable[[BinaryIO], None]) -> Iterator[int]:
    """A descriptor to write to; `take` reads what is written, in a thread. What it raises is raised
    at the end of the block, in place of anything else: it is the cause."""
    reader, writer = os.pipe()

    def run() -> None:
        with open(reader, "rb", buffering=0) as source:
            take(source)

    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(run)
        try:
            yield writer
        finally:
            os.close(writer)
            if error := taking.exception():
                raise error


@contextmanager
def read_from(chunks: Iterable[bytes]) -> Iterator[int]:
    """A descriptor to read the chunks from. What their iterator raises is raised at the end of the
    block, in place of anything else."""
    reader, writer = os.pipe()

    def run() -> None:
        # That nobody reads on is for the one who does not to say.
        with suppress(BrokenPipeError), open(writer, "wb") as target:
            for chunk in chunks:
                target.write(chunk)

    with ThreadPoolExecutor(1) as pool:
        giving = pool.submit(run)
        try:
            yield reader
        finally:
            os.close(reader)
            if error := giving.exception():
                raise error
