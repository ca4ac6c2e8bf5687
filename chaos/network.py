"""Build hosts as network and mount namespaces, and the links between them and the rest.

The run itself is in a namespace without any other network: the hub. A link can be cut, made slow,
and healed. All of it is gone with the last process in it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from buildsrht import processes
from chaos.errors import ChaosFailed

HUB = "10.203.0.1"
INSIDE = "BUILDSRHT_CHAOS"
SLOW = "64kbit"


def enter_hub() -> None:
    """Go on in namespaces of our own; returns only there."""
    if INSIDE not in os.environ:
        if os.geteuid() != 0:
            raise ChaosFailed("network namespaces are made by root only")
        os.environ[INSIDE] = "1"
        command = ["unshare", "--net", "--mount", "--", sys.executable, *sys.orig_argv[1:]]
        os.execvp(command[0], command)
    _ip("link", "set", "lo", "up")
    _ip("address", "add", f"{HUB}/32", "dev", "lo")


@dataclass(frozen=True)
class Namespace:
    """A host's network, with one link to the hub, and file systems of its own."""

    link: str
    address: str
    holder: int

    @property
    def prefix(self) -> list[str]:
        """The start of a command line that runs something there."""
        return [
            "nsenter",
            f"--net=/proc/{self.holder}/ns/net",
            f"--mount=/proc/{self.holder}/ns/mnt",
            "--",
        ]

    def run(self, *command: str) -> None:
        _run([*self.prefix, *command])

    def cut(self) -> None:
        """Nothing comes through any more, in either direction, and nobody is told."""
        _ip("link", "set", self.link, "down")

    def slow_down(self) -> None:
        limit = ["root", "tbf", "rate", SLOW, "burst", "16kbit", "latency", "1s"]
        _run(["tc", "qdisc", "replace", "dev", self.link, *limit])

    def heal(self) -> None:
        subprocess.run(
            ["tc", "qdisc", "del", "dev", self.link, "root"], stderr=subprocess.DEVNULL, check=False
        )
        _ip("link", "set", self.link, "up")
        # The kernel forgets the address's route with the link.
        _ip("route", "replace", self.address, "dev", self.link)


@contextmanager
def namespace(number: int) -> Iterator[Namespace]:
    """The network of the host of that number."""
    command = ["unshare", "--net", "--mount", "--", "sleep", "infinity"]
    holder = processes.start([*processes.dies_with_us(signal.SIGKILL), *command])
    try:
        made = Namespace(f"host{number}", f"10.203.{number}.2", holder.pid)
        _await_exec(holder.pid)
        theirs = ["peer", "name", "eth0", "netns", str(holder.pid)]
        _ip("link", "add", made.link, "type", "veth", *theirs)
        _ip("link", "set", made.link, "up")
        _ip("route", "replace", made.address, "dev", made.link)
        made.run("ip", "link", "set", "lo", "up")
        made.run("ip", "address", "add", f"{made.address}/32", "dev", "eth0")
        made.run("ip", "link", "set", "eth0", "up")
        made.run("ip", "route", "add", "default", "dev", "eth0")
        yield made
    finally:
        processes.stop(holder, signal.SIGKILL, 5)


def _await_exec(pid: int) -> None:
    """Until `unshare` has become what it runs, in its new namespaces."""
    for _ in range(500):
        with open(f"/proc/{pid}/comm") as name:
            if name.read().strip() == "sleep":
                return
        if processes.has_ended(pid, 0.01):
            break
    raise ChaosFailed("a network namespace did not come up")


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ChaosFailed(f"{' '.join(command)}: {done.stderr.strip()}")
