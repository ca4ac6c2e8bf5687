"""What starting from a snapshot costs by itself: no API, no queue, no database, no log.

The barest way is the limit of what a service can reach that starts machines so: a copy of an empty
disk, QEMU, and one command through the guest's agent. It is not a way to run strangers' programs:
nothing confines the machine, and two of them would be the same machine twice.
"""

import shutil
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from bench import processes
from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.place import Place
from bench.plain_qemu import started
from worker import vm
from worker.guest import Guest

REPETITIONS = 10
MACHINES = 12
BULK_BYTES = 2**28
BULK_REPETITIONS = 3
BULK_SECONDS = 300
# For one machine; most take half a second.
MACHINE_SECONDS = 60
# What a machine that has just started still does is over by then.
REST_SECONDS = 2


def first_command(place: Place) -> Figures:
    # The first time brings the files into the host's memory.
    as_jobs = [_as_jobs_get_it(place) for _ in range(REPETITIONS + 1)][1:]
    barest = [_barest(place) for _ in range(REPETITIONS + 1)][1:]
    summaries = {
        "clone_as_jobs_get_it": Summary.of(as_jobs),
        "clone_barest": Summary.of(barest),
    }
    limit = min(summaries.values(), key=lambda summary: summary.median)
    return Figures(seconds={"clone_first_command": limit, **summaries})


def _as_jobs_get_it(place: Place) -> float:
    """With a network of its own, limits, and an identity that no other machine has."""
    platform = place.platform
    around = vm.Surroundings(place.directory / "clone", guard=vm.within(MACHINE_SECONDS))
    begun = time.monotonic()
    with vm.clone(place.template, platform.image, platform.hardware, around) as machine:
        return _until_true(machine.guest, begun)


def _barest(place: Place) -> float:
    template = place.template
    begun = time.monotonic()
    overlay = Path(shutil.copy(template.empty_disk, place.directory / "barest.qcow2"))
    disks = [*template.disks, overlay]
    with started(place.platform, disks, MACHINE_SECONDS, continued=template) as machine:
        with template.state.open("rb") as state:
            machine.monitor.restore(state.fileno())
        return _until_true(machine.guest, begun)


def _until_true(guest: Guest, begun: float) -> float:
    status = guest.run(["true"], lambda _: None, user="root")
    if status != 0:
        raise MeasurementFailed(f"`true` in a clone: exit status {status}")
    return time.monotonic() - begun


def bulk(place: Place) -> Figures:
    """How fast a large file leaves a machine, as an artifact does."""
    platform = place.platform
    around = vm.Surroundings(place.directory / "bulk", guard=vm.within(BULK_SECONDS))
    with vm.clone(place.template, platform.image, platform.hardware, around) as machine:
        command = ["sh", "-c", f"head -c {BULK_BYTES} /dev/zero >large"]
        if machine.guest.run(command, lambda _: None) != 0:
            raise MeasurementFailed("the machine could not make a large file")
        rates = [_read_rate(machine.guest) for _ in range(BULK_REPETITIONS)]
    return Figures(rates={"artifact_mb_per_second": Summary.of(rates)})


def _read_rate(guest: Guest) -> float:
    begun = time.monotonic()
    size = sum(len(chunk) for chunk in guest.read("large", limit=BULK_BYTES))
    if size != BULK_BYTES:
        raise MeasurementFailed(f"{size} of {BULK_BYTES} bytes arrived")
    return size / 1e6 / (time.monotonic() - begun)


def memory(place: Place) -> Figures:
    """What each further machine takes that idles beside others."""
    platform = place.platform
    owned, available = [], []
    with ExitStack() as stack:
        for number in range(MACHINES + 1):
            around = vm.Surroundings(
                place.directory / f"idle-{number}", guard=vm.within(MACHINE_SECONDS + 10 * MACHINES)
            )
            stack.enter_context(vm.clone(place.template, platform.image, platform.hardware, around))
            time.sleep(REST_SECONDS)
            owned.append(processes.memory_of_children())
            available.append(-processes.available_memory())
    return Figures(
        memory_mb={
            "per_extra_vm": Summary.of(_differences(owned)),
            "per_extra_vm_by_available": Summary.of(_differences(available)),
        }
    )


def _differences(values: list[float]) -> list[float]:
    return [after - before for before, after in pairwise(values)]
