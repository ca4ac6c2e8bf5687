"""Users name hosts, and nothing of ours or of our site is reached by it."""

import socket
import threading
import time
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network

import httpcore
import pytest

from buildsrht.config import destinations
from buildsrht.courier import addresses
from buildsrht.courier.addresses import (
    FORBIDDEN,
    ForbiddenAddress,
    GuardedNetwork,
    UnknownHost,
    checked_addresses,
    own_addresses,
)
from worker import network

PUBLIC = "93.184.216.34"
PUBLIC_IPV6 = "2606:4700:4700::1111"


@pytest.fixture
def answers(monkeypatch):
    """Let the resolver give these answers, one after the other: `answers([...], [...])`."""
    asked = []

    def give(*lists):
        left = list(lists)

        def resolve(host, port, seconds):
            asked.append(host)
            return left.pop(0)

        monkeypatch.setattr(addresses, "resolve", resolve)
        return asked

    return give


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "localhost", "0.0.0.0", "::", "::1"),
        # All of these are 127.0.0.1 to the C library.
        *("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"),
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "198.18.0.1"),
        *("169.254.169.254", "168.63.129.16", "192.0.0.1", "192.0.2.1", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("fe80::1", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "100::1", "2001:db8::1"),
        # An IPv4 address inside: mapped, compatible, NAT64, 6to4, Teredo.
        *("::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::10.0.0.1"),
        *("64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::1", "2002:808:808::1", "2001:0:1::1"),
    ],
)
def test_an_address_that_is_not_on_the_internet_is_refused(host):
    with pytest.raises(ForbiddenAddress, match="not to be reached"):
        checked_addresses(host, 80, ())


def test_every_address_of_this_host_is_refused(monkeypatch):
    assert ip_address("127.0.0.1") in own_addresses()
    mine = frozenset([ip_address(PUBLIC), ip_address(PUBLIC_IPV6)])
    monkeypatch.setattr(addresses, "own_addresses", lambda: mine)
    for host in (PUBLIC, PUBLIC_IPV6):
        with pytest.raises(ForbiddenAddress):
            checked_addresses(host, 80, ())


@pytest.mark.parametrize("host", [PUBLIC, PUBLIC_IPV6])
def test_an_address_on_the_internet_is_permitted(host):
    assert checked_addresses(host, 80, ()) == [host]


def test_an_address_that_is_bound_to_one_interface_is_refused(answers):
    answers([f"{PUBLIC_IPV6}%eth0"])
    with pytest.raises(ForbiddenAddress):
        checked_addresses("host.example", 80, ())


def test_of_several_addresses_the_good_ones_are_left_in_their_order(answers):
    answers(["10.0.0.1", PUBLIC_IPV6, "::1", PUBLIC])
    assert checked_addresses("host.example", 80, ()) == [PUBLIC_IPV6, PUBLIC]


def test_what_guests_may_not_reach_we_may_not_reach_for_them():
    ours = [net for net in FORBIDDEN if net.version == 4]
    for theirs in map(ip_network, network.FORBIDDEN):
        assert any(theirs.subnet_of(net) for net in ours), theirs


def test_a_host_that_nobody_knows_is_an_error_of_its_own(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(UnknownHost, match=r"host\.example: Name or service not known"):
        checked_addresses("host.example", 80, ())


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "\ud800.example"])
def test_so_is_what_cannot_be_a_name(host):
    with pytest.raises(UnknownHost, match="not a host's name"):
        checked_addresses(host, 80, ())


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(60) and [])
    with pytest.raises(UnknownHost, match="not looked up within"):
        checked_addresses("host.example", 80, (), seconds=0.05)
    never.set()


# --- what the operator excepts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allow", "host", "port", "is_permitted"),
    [
        ("10.1.2.3", "10.1.2.3", 80, True),
        ("10.1.2.3", "10.1.2.4", 80, False),
        ("10.1.2.3:443", "10.1.2.3", 443, True),
        ("10.1.2.3:443", "10.1.2.3", 80, False),
        ("10.1.0.0/16 192.168.1.1", "10.1.255.255", 80, True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "::ffff:127.0.0.1", 8000, False),
    ],
)
def test_exceptions_hold_for_what_they_name_and_nothing_beside_it(allow, host, port, is_permitted):
    if is_permitted:
        assert checked_addresses(host, port, destinations(allow)) == [host]
    else:
        with pytest.raises(ForbiddenAddress):
            checked_addresses(host, port, destinations(allow))


# --- over HTTP ------------------------------------------------------------------------------------


@contextmanager
def server(answer):
    """A port of ours whose first connection is `answer`'s."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def hello(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def get(url, allow="", seconds=10.0):
    guarded = GuardedNetwork(destinations(allow), time.monotonic() + seconds)
    with httpcore.ConnectionPool(network_backend=guarded) as pool:
        return pool.request("GET", url).content


def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to(answers):
    with server(hello) as port:
        asked = answers(["127.0.0.1"], ["127.0.0.2"])
        assert get(f"http://rebinding.example:{port}/", f"127.0.0.1:{port}") == b"hello"
    assert asked == ["rebinding.example"]


def test_a_name_that_was_good_a_moment_ago_is_checked_again_for_the_next_connection(answers):
    with server(hello) as port:
        answers(["127.0.0.1"], ["127.0.0.2"])
        url, allow = f"http://rebinding.example:{port}/", f"127.0.0.1:{port}"
        assert get(url, allow) == b"hello"
        with pytest.raises(ForbiddenAddress, match=r"127\.0\.0\.2"):
            get(url, allow)


def test_nothing_is_sent_to_an_address_that_is_refused():
    with server(hello) as port, pytest.raises(ForbiddenAddress):
        get(f"http://localhost:{port}/")


def test_the_next_address_is_tried_when_one_refuses(answers):
    with server(hello) as port:
        answers(["127.0.0.3", "127.0.0.1"])
        assert get(f"http://host.example:{port}/", "127.0.0.0/8") == b"hello"


def trickle(connection):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: y\r\n")
        time.sleep(0.05)


def silent(connection):
    while connection.recv(65536):
        pass


@pytest.mark.parametrize(
    ("scheme", "answer", "error"),
    [
        ("http", trickle, httpcore.ReadTimeout),
        ("http", silent, httpcore.ReadTimeout),
        ("https", silent, httpcore.ConnectTimeout),
    ],
)
def test_the_deadline_holds_for_all_of_it_together(scheme, answer, error):
    began = time.monotonic()
    with server(answer) as port, pytest.raises(error):
        get(f"{scheme}://127.0.0.1:{port}/", "127.0.0.1", seconds=0.4)
    assert 0.3 < time.monotonic() - began < 3
