"""Whether some bytes are a tar archive, compressed with gzip, that can become a directory.

Read through once, in little memory, and never unpacked. Whoever unpacks one does so where it can
harm nobody but its owner; this is so that what is wrong with one is said when it is submitted, and
not minutes later. Hostile bytes cost no more than the reading of `most_bytes`.
"""

import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Iterator

MOST_MEMBERS = 50_000
# What may stand before one member: its name, where that is long, and its attributes.
MOST_HEADER_BYTES = 64 * 1024
# Enough for all members, where each has what tar writes of it. To understand much more takes long.
MOST_HEADER_BYTES_IN_ALL = 80 * 1024 * 1024
MOST_COMMON_HEADERS = 100
MOST_PROBLEMS = 10
PIECE = 64 * 1024
COMPRESSED_PIECE = 4 * 1024
GZIP = 16 + zlib.MAX_WBITS
LONGEST_SHOWN = 100


class _Unfit(Exception):
    """Nothing that comes behind this can be understood."""


def problems_of(chunks: Iterable[bytes], most_bytes: int) -> list[str]:
    """What is wrong with an archive, which may have `most_bytes` unpacked; nothing, if it is good.

    A reason continues a sentence that began with the name of the archive.
    """
    problems = []
    try:
        for problem in _problems(_Unpacked(chunks, most_bytes)):
            problems.append(problem)
            if len(problems) == MOST_PROBLEMS:
                break
    except _Unfit as unfit:
        problems.append(str(unfit))
    except (tarfile.TarError, ValueError, OverflowError) as error:
        problems.append(f"is no tar archive compressed with gzip: {error}")
    return problems


def _problems(content: "_Unpacked") -> Iterator[str]:
    count, last = 0, None
    archive = tarfile.TarFile(fileobj=content)  # type: ignore[arg-type]
    while member := archive.next():
        count, last = count + 1, member
        if count > MOST_MEMBERS:
            raise _Unfit(f"has more than {MOST_MEMBERS:,} members")
        if reason := _why_not(member):
            yield f"{_shown(member.name)} {reason}"
        # It would remember each.
        archive.members.clear()  # type: ignore[attr-defined]
        if len(archive.pax_headers) > MOST_COMMON_HEADERS:
            raise _Unfit("has too many headers")
        content.begin_header()
    # What is no header ends an archive, too, as far as that library is concerned.
    if last is None or content.last_read.strip(b"\0"):
        raise _Unfit(f"is broken behind {_shown(last.name)}" if last else "holds nothing")
    content.read_to_the_end()


def _why_not(member: tarfile.TarInfo) -> str | None:
    if _leads_out(member.name):
        return "is outside of the tree"
    if member.issym():
        beside = posixpath.dirname(member.name)
        if _leads_out(posixpath.normpath(posixpath.join(beside, member.linkname))):
            return f"is a link to {_shown(member.linkname)}, outside of the tree"
    elif member.islnk():
        if _leads_out(member.linkname):
            return f"is a link to {_shown(member.linkname)}, outside of the tree"
    elif not member.isreg() and not member.isdir():
        return "is no file, directory or link"
    return None


def _leads_out(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _shown(name: str) -> str:
    return repr(name if len(name) <= LONGEST_SHOWN else f"{name[: LONGEST_SHOWN - 1]}…")


class _Unpacked:
    """What was compressed, as the file that tarfile expects: it can be read, and skipped forwards.

    A gzip file in several parts is refused. Python's own reader takes a second for each few
    megabytes of what some consist of.
    """

    def __init__(self, chunks: Iterable[bytes], most_bytes: int):
        self._chunks = _pieces(chunks)
        self._gzip = zlib.decompressobj(GZIP)
        self._most_bytes = most_bytes
        self._ready = memoryview(b"")
        self._position = 0
        self._header_left = MOST_HEADER_BYTES
        self._headers_left = MOST_HEADER_BYTES_IN_ALL
        self.last_read = b""

    def begin_header(self) -> None:
        """What is read from now on describes the next member."""
        self._header_left = MOST_HEADER_BYTES

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise _Unfit("is no tar archive: a size is negative")
        while self._position < position and self._take(position - self._position):
            pass

    def read(self, size: int) -> bytes:
        self._header_left -= size
        self._headers_left -= size
        if size < 0 or self._header_left < 0:
            raise _Unfit(f"has a member with a header of more than {MOST_HEADER_BYTES:,} bytes")
        if self._headers_left < 0:
            raise _Unfit("has too many headers")
        self.last_read = b""
        while len(self.last_read) < size and (piece := self._take(size - len(self.last_read))):
            self.last_read += piece
        return self.last_read

    def read_to_the_end(self) -> None:
        """Have the rest read, as a checksum stands at the end of all."""
        while self._take(PIECE):
            pass

    def _take(self, most: int) -> bytes:
        """At least one byte, unless this is the end."""
        if not self._ready:
            self._ready = memoryview(self._more())
        data, self._ready = bytes(self._ready[:most]), self._ready[most:]
        self._position += len(data)
        if self._position > self._most_bytes:
            raise _Unfit(f"may have {self._most_bytes:,} bytes unpacked, and has more")
        return data

    def _more(self) -> bytes:
        data = b""
        while not data and not self._gzip.eof:
            compressed = self._gzip.unconsumed_tail or next(self._chunks, b"")
            try:
                data = self._gzip.decompress(compressed, PIECE)
            except zlib.error as error:
                raise _Unfit(f"is no gzip file, or a damaged one: {error}") from error
            if not (data or compressed or self._gzip.eof):
                raise _Unfit("ends too early")
        if not data and (self._gzip.unused_data or next(self._chunks, b"")):
            raise _Unfit("goes on behind its end")
        return data


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Small ones: of each, zlib copies what it does not use at once."""
    for chunk in chunks:
        for start in range(0, len(chunk), COMPRESSED_PIECE):
            yield chunk[start : start + COMPRESSED_PIECE]
