"""A session inside a kept machine, by way of the process that keeps it.

That process listens on a socket of this host; each session is a connection of its own, in the
frames of worker/kept/hosting.py. A connection that ends without E means that the machine is gone.
Whoever hangs up ends the session.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from worker.errors import GuestLost, GuestRefused
from worker.gateway.session import Ending, Frame, Session, ending_of
from worker.guest import FRAME_LIMIT, HEADER

OPEN, OUTPUT, ERROR_OUTPUT, END = (bytes([kind]) for kind in b"ODXE")
USER = "build"


async def visit(session: Session, keeper: Path, argv: Sequence[str] | None) -> Ending:
    """Run a command, or a login shell, in a machine, for as long as both ends want to.

    Raises GuestLost when the machine goes away, GuestRefused when it cannot run that.
    """
    async with _connected(keeper) as (reader, writer):
        _send(writer, OPEN, _opening(session, argv))
        session.listen()
        passing_on = asyncio.create_task(_pass_on(session, writer))
        try:
            return await _receive(session, reader)
        finally:
            passing_on.cancel()
            await asyncio.wait([passing_on])


@asynccontextmanager
async def _connected(
    keeper: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    try:
        reader, writer = await asyncio.open_unix_connection(keeper)
    except OSError as error:
        raise GuestLost(f"the machine cannot be reached: {error.strerror}") from error
    try:
        yield reader, writer
    finally:
        # At once, with what was not sent: nobody is there any more who wanted that done.
        writer.transport.abort()


def _opening(session: Session, argv: Sequence[str] | None) -> bytes:
    terminal = session.terminal
    request = {
        "argv": None if argv is None else list(argv),
        "user": USER,
        "env": session.environment,
        "terminal": terminal
        and {"term": terminal.term, "columns": terminal.columns, "rows": terminal.rows},
    }
    return json.dumps(request).encode()


async def _pass_on(session: Session, writer: asyncio.StreamWriter) -> None:
    # A keeper that hangs up is noticed, with the reason, by whoever reads from it.
    with contextlib.suppress(OSError):
        while True:
            _send(writer, *await session.receive())
            await writer.drain()


def _send(writer: asyncio.StreamWriter, kind: bytes, payload: bytes) -> None:
    writer.write(HEADER.pack(kind, len(payload)) + payload)


async def _receive(session: Session, reader: asyncio.StreamReader) -> Ending:
    while True:
        kind, payload = await _next(reader)
        if kind == OUTPUT:
            await session.write(payload)
        elif kind == ERROR_OUTPUT:
            await session.write_error(payload)
        elif kind == END:
            return _ending(payload)
        else:
            raise GuestLost(f"its keeper sent a frame of unknown kind {kind!r}")


async def _next(reader: asyncio.StreamReader) -> Frame:
    try:
        kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
        if length > FRAME_LIMIT:
            raise GuestLost(f"its keeper sent a frame of {length} bytes")
        return kind, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise GuestLost("the machine is gone") from error


def _ending(payload: bytes) -> Ending:
    ending = json.loads(payload)
    if "error" in ending:
        raise GuestRefused(str(ending["error"]))
    return ending_of(ending["status"])
