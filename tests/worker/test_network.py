"""The rules that guard a guest's network, as text, and how it is attached.

tests/worker/test_vm.py shows the rules at work.
"""

import os
import shutil
from ipaddress import IPv4Address

import pytest

from buildsrht.config import destinations
from worker.errors import RunnerError
from worker.network import isolated, rules

CARRIER = "slirp4netns"


def lines(allow="", own=()):
    text = rules(destinations(allow), [IPv4Address(address) for address in own])
    return [line.strip() for line in text.splitlines()]


def test_what_no_rule_accepts_is_dropped_ipv6_included():
    assert any("policy drop" in line for line in lines())
    assert "meta nfproto ipv4 accept" in lines()


def test_an_exception_comes_before_what_is_forbidden():
    written = lines(allow="10.1.2.3:443 10.9.0.0/16")
    forbidden = next(n for n, line in enumerate(written) if "reject" in line)
    assert written.index("ip daddr 10.1.2.3/32 tcp dport 443 accept") < forbidden
    assert written.index("ip daddr 10.9.0.0/16 accept") < forbidden


def test_a_public_address_of_this_host_is_forbidden_too():
    assert any("198.51.100.7" in line for line in lines(own=["198.51.100.7"]) if "reject" in line)


@pytest.mark.parametrize("block", ["192.0.0.0/24", "198.18.0.0/15", "168.63.129.16/32"])
def test_blocks_that_look_public_and_are_not_are_forbidden(block):
    assert any(block in line for line in lines() if "reject" in line)


def test_an_address_inside_a_forbidden_range_is_not_named_twice():
    assert not any("192.168.1.5" in line for line in lines(own=["192.168.1.5", "127.0.0.1"]))


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    """Replace the program that carries a guest's traffic by a script, for which `$real` is it."""

    def replace(script):
        program = tmp_path / "bin" / CARRIER
        program.parent.mkdir()
        program.write_text(f"#!/bin/bash\nreal={shutil.which(CARRIER)}\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return replace


def test_what_ends_before_its_network_is_there_is_no_failure_of_the_network(tmp_path, carrier):
    carrier('while readlink "/proc/${@: -2:1}/ns/net"; do :; done; exec "$real" "$@"')
    with isolated(["false"], tmp_path, (), (), lambda _: None) as process:
        assert process.wait(20) == 1


def test_without_a_network_nothing_is_run_and_the_error_says_why(tmp_path, carrier):
    carrier("echo no tap >&2; exit 1")
    with (
        pytest.raises(RunnerError, match="no network for the guest: no tap"),
        isolated(["sleep", "60"], tmp_path, (), (), lambda _: None),
    ):
        pass
