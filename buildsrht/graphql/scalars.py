"""Values that are more than text: times as they are shown, cursors and files as they come."""

from datetime import UTC, datetime
from typing import Any

from ariadne import ScalarType

time = ScalarType("Time")
cursor = ScalarType("Cursor")
upload = ScalarType("Upload")


@time.serializer
def show_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@cursor.value_parser
def read_cursor(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a cursor is a string, handed back as it came")
    return value


BINDABLES = [time, cursor, upload]
