"""`hut` as a user runs it, with nothing of ours but its configuration file."""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.clients.debian import Program

COMMAND_SECONDS = 120
# What all that it does here needs; docs/hut.md says which for what.
GRANTS = ("JOBS:RW", "LOGS:RO", "SECRETS:RW", "PROFILE:RW")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


class Hut:
    """One user's hut. `PATH` is searched before the system's, for an `ssh` of one's own."""

    def __init__(self, program: Program, home: Path, configuration: str):
        self.version = program.version
        self.home = home
        self._binary = program.path
        # No agent: hut's ssh has the key that its configuration names.
        self.environment = {
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "PAGER": "cat",
            "TERM": "xterm",
        }
        self.configure(configuration)

    def configure(self, configuration: str) -> None:
        self.write(".config/hut/config", configuration)

    @property
    def can_update(self) -> bool:
        """Whether it is a newer one: 0.8 brought `update`, `--no-secrets` and filters of lists."""
        numbers = [int(number) for number in re.findall(r"\d+", self.version)[:2]]
        return numbers >= [0, 8]

    def __call__(self, *arguments: object, input: str = "", fails: bool = False) -> Done:
        """Run a command to its end, which is a success unless it `fails`."""
        done = subprocess.run(
            self._command(arguments),
            **self._surroundings,
            input=input,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert (done.returncode != 0) == fails, f"hut {arguments}: {done}"
        return Done(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def started(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on; it is killed unless it has ended."""
        process = subprocess.Popen(
            self._command(arguments),
            **self._surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def on_terminal(self, *arguments: object, input: str = "") -> str:
        """All that a command prints on a terminal, where it uses colours, a pager, and asks."""
        done = subprocess.run(
            ["script", "-qec", shlex.join(self._command(arguments)), "/dev/null"],
            **self._surroundings,
            input=input,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, done
        return done.stdout

    def write(self, name: str, text: str) -> str:
        """A file where the commands are run."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    def put_program(self, name: str, script: str) -> None:
        """A program that hut finds before the system's."""
        path = self.home / self.write(f"bin/{name}", f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def _command(self, arguments: tuple[object, ...]) -> list[str]:
        return [str(self._binary), *map(str, arguments)]

    @property
    def _surroundings(self):
        return {"cwd": self.home, "env": self.environment}


def configuration(token: str, builds: str, meta: str | None = None) -> str:
    """hut's configuration. `export` tells services apart by their addresses: it needs two."""
    return f"""\
instance "{urlsplit(builds).netloc}" {{
    access-token "{token}"
    builds {{
        origin "{builds}"
    }}
    meta {{
        origin "{meta or builds}"
    }}
}}
"""


def by_another_name(origin: str) -> str:
    """The same server, which hut takes for another one."""
    return origin.replace("127.0.0.1", "localhost")


def job_of(done: Done) -> int:
    """Which job a command says that it has started, by the address of its page."""
    [address] = done.out.split()
    return job_in(address)


def job_in(address: str) -> int:
    return int(address.rpartition("/job/")[2])


def wait_until(condition: Callable[[], object], seconds: float = COMMAND_SECONDS):
    """What `condition` returns once it is true of the answer."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
