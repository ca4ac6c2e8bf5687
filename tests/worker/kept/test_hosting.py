"""What a visitor is told when the agent in the machine is somebody else's."""

import asyncio
import json
import socket
import struct
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from worker.guest import HEADER
from worker.kept.hosting import OPEN, Hosting, Terms
from worker.kept.sessions import CLOSED, MOST_SESSIONS, Sessions

ANSWER_SECONDS = 10
REQUEST = {"argv": ["true"], "user": "build", "env": {}, "terminal": None}
FAR_AWAY = Terms(linger=600, longest=600)


def with_hosted(conversation):
    """`conversation(sessions, visit, say)`: who visits, and what the guest says."""

    async def run(path, ours, theirs):
        loop = asyncio.get_running_loop()
        sessions = Sessions(*await asyncio.open_connection(sock=ours))

        async def visit():
            reader, writer = await asyncio.open_unix_connection(path)
            data = json.dumps(REQUEST).encode()
            writer.write(HEADER.pack(OPEN, len(data)) + data)
            kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
            said = json.loads(await reader.readexactly(length))
            writer.close()
            return kind, said

        async def say(kind, number, data):
            # Not before it was asked for something.
            await loop.sock_recv(theirs, 1)
            frame = HEADER.pack(kind, 4 + len(data)) + struct.pack(">I", number) + data
            await loop.sock_sendall(theirs, frame)

        hosting = Hosting(sessions, FAR_AWAY, lambda: True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            running = asyncio.create_task(hosting.run(listener))
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await conversation(sessions, visit, say)
                hosting.stop()
                await running
        sessions.lost.cancel()
        return answer

    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as place, closing(theirs):
        theirs.setblocking(False)
        return asyncio.run(run(Path(place) / "socket", ours, theirs))


@pytest.mark.parametrize(
    "ending",
    [b"", b"[]", b"{}", b'{"status": "0"}', b'{"error": 1}', b"[" * 100_000, b"\xff"],
    ids=["nothing", "list", "neither", "no-number", "no-text", "deep", "no-utf-8"],
)
def test_a_session_that_ended_in_no_way_that_there_is(ending):
    async def conversation(sessions, visit, say):
        visiting = asyncio.create_task(visit())
        await say(CLOSED, 1, ending)
        return await visiting

    said = "its agent said that a session ended with something else than a status"
    assert with_hosted(conversation) == (b"E", {"error": said})


def test_one_session_too_many_is_refused():
    async def conversation(sessions, visit, say):
        for _ in range(MOST_SESSIONS):
            sessions.open(REQUEST).hang_up()
        return await visit()

    said = f"{MOST_SESSIONS} sessions in this machine have not ended"
    assert with_hosted(conversation) == (b"E", {"error": said})
