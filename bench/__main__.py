"""`make bench`, or `python -m bench`: measure, print a table, write bench/results.json.

The exit status says whether everything could be measured, not whether it was fast.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench import (
    clones,
    cold_boot,
    cost,
    endurance,
    layers,
    logs,
    pixels,
    streams,
    submissions,
    table,
    trivial,
)
from bench.errors import MeasurementFailed
from bench.figures import Figures, document
from bench.place import Place, made
from buildsrht.errors import BuildsError
from worker import qemu

RESULTS = Path(__file__).parent / "results.json"
INTERRUPTED = 130

# In this order, each on a host that does nothing else.
PARTS: dict[str, Callable[[Place], Figures]] = {
    "clone": clones.first_command,
    "memory": clones.memory,
    "bulk": clones.bulk,
    "cold_boot": cold_boot.measure,
    "trivial": trivial.one_by_one,
    "rate": trivial.two_at_a_time,
    "sixteen": trivial.sixteen_at_once,
    "large_log": logs.large,
    "lines": logs.line_by_line,
    "pixels": pixels.measure,
    "layer": layers.measure,
    "submissions": submissions.measure,
    "streams": streams.measure,
}
ENDURANCE = {"endurance": endurance.measure}
# What is measured only when it is asked for by name.
APART = {**ENDURANCE, "cost": cost.measure}


def main() -> int:
    arguments = _parse(sys.argv[1:])
    # Where Debian keeps nft; an ordinary user's PATH does not look there.
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    # Asked to stop, we leave every block that we are in.
    signal.signal(signal.SIGTERM, _interrupt)
    parts = {**PARTS, **ENDURANCE} if arguments.endurance else PARTS
    if arguments.only:
        parts = {name: {**PARTS, **APART}[name] for name in arguments.only}
    try:
        figures, host = _measure(parts)
    except (MeasurementFailed, BuildsError, OSError, subprocess.SubprocessError) as error:
        print(f"bench: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    print(table.render(figures, host))
    if "cost" in figures.notes:
        print(json.dumps(figures.notes["cost"], indent=2))
    if not arguments.only:
        RESULTS.write_text(json.dumps(document(figures, host), indent=2) + "\n")
        print(f"\nwritten to {RESULTS}")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--only",
        metavar="PART,...",
        type=_part_names,
        help=f"measure only these, and write no file: {', '.join([*PARTS, *APART])}",
    )
    parser.add_argument(
        "--endurance", action="store_true", help="run 200 jobs in a row as well, and look for leaks"
    )
    return parser.parse_args(argv)


def _part_names(text: str) -> list[str]:
    names = text.split(",")
    unknown = set(names) - {*PARTS, *APART}
    if unknown:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}")
    return names


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _measure(parts: dict[str, Callable[[Place], Figures]]) -> tuple[Figures, dict[str, Any]]:
    figures = Figures()
    load = os.getloadavg()[0]
    with made(Path(os.environ.get("VAR") or "var").absolute()) as place:
        host = {**_host(place), "load_before": round(load, 2)}
        for name, measure in parts.items():
            begun = time.monotonic()
            print(f"== {name} ", end="", file=sys.stderr, flush=True)
            figures.include(measure(place))
            print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return figures, host


def _host(place: Place) -> dict[str, Any]:
    return {
        "accelerator": place.platform.hardware.accelerator,
        "qemu": _qemu_version(place),
        "image": place.platform.image.name,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
    }


def _qemu_version(place: Place) -> str:
    binary = qemu.MACHINES[place.platform.image.arch].binary
    done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10)
    return done.stdout.splitlines()[0].removeprefix("QEMU emulator version ")


if __name__ == "__main__":
    sys.exit(main())
