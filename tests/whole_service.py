"""The whole service as an operator starts it: `buildsrht up`, in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from buildsrht import processes
from worker.janitor import pids_naming

BUILDSRHT = [sys.executable, "-P", "-m", "buildsrht"]
START_SECONDS = 60


@dataclass(frozen=True)
class WholeService:
    """Where it answers, and the variables that commands of its operator need."""

    url: str
    environment: dict[str, str]

    def command(self, *arguments: str, input: str = "") -> str:
        """What `buildsrht` prints, as its operator runs it."""
        done = subprocess.run(
            [*BUILDSRHT, *arguments],
            env=self.environment,
            input=input,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return done.stdout.strip()


@contextmanager
def whole_service(var: Path, configuration: str, port: int = 0) -> Iterator[WholeService]:
    """Run it with this configuration and a state of its own, and see it stop without a trace."""
    port = port or free_port()
    (var / "config.ini").write_text(configuration)
    environment = {**os.environ, "VAR": str(var), "PORT": str(port)}
    environment["BUILDSRHT_CONFIG"] = str(var / "config.ini")
    command = [*processes.dies_with_us(signal.SIGTERM), *BUILDSRHT, "up"]
    up = processes.start(command, env=environment)
    try:
        service = WholeService(f"http://127.0.0.1:{port}", environment)
        _wait_until_healthy(service.url)
        yield service
    finally:
        processes.stop(up, signal.SIGTERM, 60)
    assert up.returncode == 0
    assert pids_naming(f"{var}/") == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the service did not come up")
