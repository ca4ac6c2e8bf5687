"""Values that are more than text: times as they are shown, cursors and files as they come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from ariadne import ScalarType

time = ScalarType("Time")
cursor = ScalarType("Cursor")
upload = ScalarType("Upload")

CHUNK = 256 * 1024


@time.serializer
def show_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@cursor.value_parser
def read_cursor(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a cursor is a string, handed back as it came")
    return value


@dataclass(frozen=True)
class Upload:
    """A file that came with the request."""

    file: IO[bytes]

    def read(self, most: int) -> bytes:
        """Its first bytes."""
        self.file.seek(0)
        return self.file.read(most)

    def chunks(self) -> Iterator[bytes]:
        self.file.seek(0)
        while chunk := self.file.read(CHUNK):
            yield chunk


@upload.value_parser
def read_upload(value: Any) -> Upload:
    if not isinstance(value, Upload):
        raise ValueError("a file comes with the request, as multipart/form-data")
    return value


@upload.literal_parser
def refuse_literal(*_: Any) -> Upload:
    raise ValueError("a file comes in a variable")


BINDABLES = [time, cursor, upload]
