"""Archives for tests of what is submitted as a working tree."""

import gzip
import io
import tarfile
from collections.abc import Mapping


def archive(files: Mapping[str, bytes | None]) -> bytes:
    """A good one, of these files; a name that ends at a slash is a directory."""
    members = []
    for name, data in files.items():
        member = tarfile.TarInfo(name.rstrip("/"))
        member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
        member.mode = 0o755 if member.isdir() else 0o644
        members.append((member, data or b""))
    return _compressed(members)


def packed(*members: tarfile.TarInfo) -> bytes:
    """One of these members, which hold nothing."""
    return _compressed([(member, b"") for member in members])


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Something that is neither a file nor a directory."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def _compressed(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for member, data in members:
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return gzip.compress(out.getvalue())
