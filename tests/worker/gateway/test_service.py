"""Waking machines, for visitors who come at once and for those who do not wait."""

import asyncio
import threading
from pathlib import Path

import pytest

from worker.errors import RunnerError
from worker.gateway import service
from worker.gateway.service import Service

ANSWER_SECONDS = 10


class Machines:
    """Which can be visited from when they are `up`."""

    def __init__(self):
        self.asked = []
        self.up = threading.Event()
        self.refusal = None

    def open(self, config, job_id):
        self.asked.append(job_id)
        assert self.up.wait(ANSWER_SECONDS)
        if self.refusal:
            raise RunnerError(self.refusal)
        return Path(f"/sockets/{job_id}")


@pytest.fixture
def machines():
    machines = Machines()
    yield machines
    machines.up.set()


async def leave(visits):
    await asyncio.sleep(0)
    for visit in visits:
        visit.cancel()
    await asyncio.wait(visits)


def test_all_who_come_at_once_are_let_into_the_same_machine(backend, machines):
    async def come():
        asking = Service(backend, machines.open)
        visits = [asyncio.create_task(asking.wake(7)) for _ in range(20)]
        await leave(visits[:10])
        machines.up.set()
        return await asyncio.gather(*visits[10:])

    assert asyncio.run(come()) == [Path("/sockets/7")] * 10
    assert machines.asked == [7]


def test_who_comes_and_goes_again_and_again_has_one_thread(backend, machines):
    async def come_and_go():
        asking = Service(backend, machines.open)
        for _ in range(100):
            await leave([asyncio.create_task(asking.wake(7))])
        return [thread.name for thread in threading.enumerate()].count("waking")

    assert asyncio.run(come_and_go()) == 1


def test_no_more_machines_are_waited_for_than_there_is_room(backend, machines):
    async def come():
        asking = Service(backend, machines.open)
        visits = [asyncio.create_task(asking.wake(n)) for n in range(service.WAKING + 5)]
        await leave(visits)
        waiting = len(machines.asked)
        machines.up.set()
        await asking.wake(1000)
        return waiting

    assert asyncio.run(come()) <= service.WAKING
    assert len(machines.asked) == service.WAKING + 6


def test_why_a_machine_does_not_come_back_is_told_to_all_and_the_next_one_asks_anew(
    backend, machines
):
    machines.up.set()
    machines.refusal = "the disk of this host is short"

    async def come():
        asking = Service(backend, machines.open)
        refused = await asyncio.gather(*(asking.wake(7) for _ in range(3)), return_exceptions=True)
        machines.refusal = None
        return refused, await asking.wake(7)

    refused, path = asyncio.run(come())
    assert [str(error) for error in refused] == ["the disk of this host is short"] * 3
    assert (path, machines.asked) == (Path("/sockets/7"), [7, 7])
