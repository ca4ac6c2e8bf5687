"""Which addresses may be asked for a user's sake, and a way to ask no other.

A user names a host; our own network must not answer for it. `checked_addresses()` looks the name
up, once, and returns those of its addresses that may be connected to. Whoever connects does so to
one of these and never to the name again, so that a name which is answered otherwise the second
time leads nowhere else. `GuardedNetwork` is the same for HTTP: every connection that is made over
it, that of a redirect too, is to an address that was checked, and all of them end by one deadline.

Knows nothing of webhooks or forges.
"""

import json
import queue
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from buildsrht.config import Destination
from buildsrht.errors import BuildsError

RESOLVE_SECONDS = 10
COMMAND_SECONDS = 10

# IANA's special-purpose registries: this host, private use, carrier NAT, loopback, link-local,
# protocol assignments, documentation, 6to4's relay, benchmarking, multicast, reserved; and the one
# public-looking address at which a cloud answers its machines only.
FORBIDDEN = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            # In 2000::/3: protocol assignments (with Teredo), documentation, 6to4.
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
        ),
    )
)
# All of IPv6 that is given out for the Internet. Outside of it are loopback, local and multicast
# addresses, and those that hold an IPv4 address: mapped, compatible and NAT64.
GLOBAL_IPV6 = ip_network("2000::/3")

Address = IPv4Address | IPv6Address


class Unreachable(BuildsError):
    """A host cannot be connected to."""


class UnknownHost(Unreachable):
    """Nobody says which addresses it has, at least not now."""


class ForbiddenAddress(Unreachable):
    """It has no address that may be connected to."""


def checked_addresses(
    host: str,
    port: int,
    allow: Sequence[Destination],
    seconds: float = RESOLVE_SECONDS,
) -> list[str]:
    """The addresses of a host, a name or an address itself, that may be connected to.

    Raises UnknownHost, also when it is not known within `seconds`, or ForbiddenAddress.
    """
    found = resolve(host, port, seconds)
    own = own_addresses()
    permitted = [text for text in found if _is_permitted(ip_address(text), port, allow, own)]
    if not permitted:
        raise ForbiddenAddress(
            f"{host} is {', '.join(found)}: private, special or our own, and not to be reached"
            " unless the operator excepts it in [courier] allow"
        )
    return permitted


def _is_permitted(
    address: Address, port: int, allow: Sequence[Destination], own: frozenset[Address]
) -> bool:
    if any(address in network and wanted in (port, None) for network, wanted in allow):
        return True
    if isinstance(address, IPv6Address) and (address.scope_id or address not in GLOBAL_IPV6):
        return False
    return address not in own and not any(address in network for network in FORBIDDEN)


def own_addresses() -> frozenset[Address]:
    """Every address of this host: a service bound to a public one is still this host's."""
    listing = subprocess.run(
        ["ip", "-json", "address"], check=True, capture_output=True, timeout=COMMAND_SECONDS
    )
    return frozenset(
        ip_address(address["local"])
        for link in json.loads(listing.stdout)
        for address in link.get("addr_info", [])
        if "local" in address
    )


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """Every address of a host, in the order in which to try them.

    The C library may take minutes over a name and cannot be told to hurry, so a thread waits for
    it that nobody waits for.
    """
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(address[0]) for *_, address in found)))
        # The latter for what cannot be a name at all.
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0))
    except queue.Empty:
        raise UnknownHost(f"{host}: not looked up within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        reason = answer.strerror if isinstance(answer, OSError) else "not a host's name"
        raise UnknownHost(f"{host}: {reason}") from answer
    return answer


class GuardedNetwork(httpcore.NetworkBackend):
    """The network of an httpcore.ConnectionPool: checked addresses only, until `deadline`.

    The deadline is one of time.monotonic() and holds for all that happens, however slowly a
    server trickles; the timeouts that httpcore passes are not looked at. What goes wrong is one of
    httpcore's exceptions, or Unreachable.
    """

    def __init__(self, allow: Sequence[Destination], deadline: float):
        self._allow = allow
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline - time.monotonic()
        addresses = checked_addresses(host, port, self._allow, left)
        error: OSError = TimeoutError("timed out")
        for index, address in enumerate(addresses):
            # One that does not answer shall leave time for the others.
            share = (self._deadline - time.monotonic()) / (len(addresses) - index)
            try:
                connection = socket.create_connection((address, port), max(share, 0.001))
            except OSError as failure:
                error = failure
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Stream(connection, self._deadline)
        if isinstance(error, TimeoutError):
            raise httpcore.ConnectTimeout(f"{host}: no connection in time") from error
        raise httpcore.ConnectError(f"{host}: {error.strerror or error}") from error


class _Stream(httpcore.NetworkStream):
    def __init__(self, connection: socket.socket, deadline: float):
        self._socket = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._use_what_is_left()
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout("no complete answer in time") from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            while buffer:
                self._use_what_is_left()
                buffer = buffer[self._socket.send(buffer) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout("it did not take the request in time") from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            self._use_what_is_left()
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout("no TLS in time") from error
        except OSError as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._socket if info == "socket" else None

    def _use_what_is_left(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
