"""What a guest may reach: the Internet, and nothing that is only meant for this host or its site.

Each VM runs in a network namespace of its own, made without privilege. Inside it nftables drops
what a guest must not reach, before anything leaves; slirp4netns carries the rest out through
ordinary sockets of the host. The namespace's loopback is empty, so QEMU's gateway address, which
stands for "the host", leads nowhere. DNS goes to the host's own resolver.

    guest 10.0.3.15 ── QEMU's user network ── namespace (nftables) ── slirp4netns ── host

Knows nothing of what runs in the namespace.
"""

import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from buildsrht import processes
from buildsrht.config import Destination
from worker.confinement import own_namespace
from worker.errors import RunnerError

RESOLVER = "10.0.2.3"
STDERR = "stderr"
SAID_BYTES = 4096
START_SECONDS = 20
STOP_SECONDS = 5

# IANA's special-purpose registry: this host, private use, carrier NAT, loopback, link-local,
# protocol assignments, benchmarking, multicast, reserved; and the one public-looking address at
# which a cloud answers its machines only. The blocks for documentation are left out: a route to
# one is somebody's lab.
FORBIDDEN = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "168.63.129.16/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
)

# In the new namespace, as its root: rules first, then tell that they are in force, then become
# the command, which must not inherit the descriptor that told it, nor what a shell adds to the
# environment.
ENTER = (
    'ip link set lo up && nft -f "$1" && echo ready >&"$2" && eval "exec $2>&-" '
    '&& shift 2 && cd / && exec env -i "PATH=$PATH" "$@"'
)


def host_addresses() -> list[IPv4Address]:
    """Every IPv4 address of this host: a service bound to a public one is still this host's."""
    listing = subprocess.run(
        ["ip", "-json", "-4", "address"], check=True, capture_output=True, timeout=10
    )
    return [
        IPv4Address(address["local"])
        for link in json.loads(listing.stdout)
        for address in link.get("addr_info", [])
        if "local" in address
    ]


def rules(allow: Sequence[Destination], own_addresses: Sequence[IPv4Address]) -> str:
    """The nftables rules of a guest's namespace: the operator's exceptions, then what is
    forbidden, then the rest. IPv6 is dropped as a whole."""
    forbidden = ", ".join([*FORBIDDEN, *_not_in_forbidden(own_addresses)])
    lines = [
        # Nothing listens here; but a rejected connection learns of it by this way.
        'oifname "lo" accept',
        f"ip daddr {RESOLVER} udp dport 53 accept",
        f"ip daddr {RESOLVER} tcp dport 53 accept",
        *(_accept(destination) for destination in allow),
        f"ip daddr {{ {forbidden} }} meta l4proto tcp reject with tcp reset",
        f"ip daddr {{ {forbidden} }} reject",
        "meta nfproto ipv4 accept",
    ]
    chain = "type filter hook output priority 0; policy drop;\n" + "\n".join(lines)
    return f"table inet guest {{\nchain output {{\n{chain}\n}}\n}}\n"


def _accept(destination: Destination) -> str:
    port = f" tcp dport {destination.port}" if destination.port else ""
    return f"ip daddr {destination.network}{port} accept"


def _not_in_forbidden(addresses: Sequence[IPv4Address]) -> list[str]:
    """nftables refuses a set of which one element contains another."""
    networks = [IPv4Network(network) for network in FORBIDDEN]
    return sorted(
        {str(address) for address in addresses if not any(address in net for net in networks)}
    )


def said_by(directory: Path) -> str:
    """The end of what the command that ran with this directory has said on its stderr."""
    try:
        with (directory / STDERR).open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - SAID_BYTES, 0))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


@contextmanager
def isolated(
    command: Sequence[str],
    directory: Path,
    allow: Sequence[Destination],
    pass_fds: Sequence[int],
    adopt: Callable[[int], None],
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a new network namespace, connected and guarded, until the block ends.

    Its stderr is kept in `directory`. `adopt` is told the pid of each process as soon as there is
    one. Raises RunnerError when the namespace cannot be made.
    """
    rules_file = directory / "network.nft"
    rules_file.write_text(rules(allow, host_addresses()))
    said = directory / STDERR
    with _pipe() as (ready, tell_ready), said.open("wb") as stderr:
        process = processes.start(
            [
                *("unshare", *own_namespace(), "--net", "--"),
                *processes.dies_with_us(signal.SIGKILL),
                *("bash", "-c", ENTER, "bash", str(rules_file), str(tell_ready), *command),
            ],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=[tell_ready, *pass_fds],
            # Of our own variables some are secrets.
            env={"PATH": os.environ["PATH"]},
        )
        try:
            adopt(process.pid)
            # Not earlier: until the rules are in force the process may still be in the host's
            # namespace, and that is what slirp4netns would then configure.
            _await_word(ready, tell_ready, said)
            with _attached(process.pid, directory, adopt):
                yield process
        finally:
            processes.stop(process, signal.SIGKILL, STOP_SECONDS)


@contextmanager
def _attached(pid: int, directory: Path, adopt: Callable[[int], None]) -> Iterator[None]:
    """Carry traffic between the namespace of `pid` and the host for as long as the block runs."""
    said = directory / "slirp4netns"
    with _pipe() as (ready, tell_ready), said.open("wb") as output:
        process = processes.start(
            [
                *processes.dies_with_us(signal.SIGKILL),
                *("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"),
                *("--enable-sandbox", "--enable-seccomp"),
                *(f"--ready-fd={tell_ready}", str(pid), "tap0"),
            ],
            stdout=output,
            stderr=output,
            pass_fds=[tell_ready],
        )
        try:
            adopt(process.pid)
            try:
                _await_word(ready, tell_ready, said)
            except RunnerError:
                # What has ended needs no network, and whoever runs it finds out why it has.
                if not processes.has_ended(pid):
                    raise
            yield
        finally:
            processes.stop(process, signal.SIGKILL, STOP_SECONDS)


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """A pipe's reading and writing end; the writing end is for `_await_word` to close."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"):
        yield reader, writer


def _await_word(reader: int, writer: int, said: Path) -> None:
    """Return when the child, which holds `writer` too, has written something."""
    os.close(writer)
    readable, _, _ = select.select([reader], [], [], START_SECONDS)
    if not (readable and os.read(reader, 64)):
        raise RunnerError(f"no network for the guest: {said.read_text(errors='replace').strip()}")
