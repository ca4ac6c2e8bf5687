"""Machines that continue the same snapshot share nothing that has to be one machine's own."""

import time
from contextlib import ExitStack

import pytest

from worker import snapshots, templates, vm
from worker.guest import Identity
from worker.platforms import settle
from worker.vm import Surroundings

pytestmark = pytest.mark.vm

# One line for each fact, as the user of a job sees it, random numbers first.
FACTS = """
say() { echo "$1=$2"; }
say urandom "$(od -An -tx1 -N16 /dev/urandom | tr -d ' ')"
say getrandom "$(python3 -c 'import os; print(os.getrandom(16).hex())')"
say kernel-uuid "$(cat /proc/sys/kernel/random/uuid)"
say machine-id "$(cat /etc/machine-id)"
say dbus-machine-id "$(cat /var/lib/dbus/machine-id)"
say hostname "$(hostname)"
say name-of-address "$(getent hosts "$(hostname)")"
say mac "$(cat /sys/class/net/eth0/address)"
say host-keys "$(cat /etc/ssh/ssh_host_*_key.pub 2>/dev/null | tr '\\n' ' ')"
say served-key "$(cat /run/served-key 2>/dev/null)"
say sudo "$(sudo -n true 2>&1 && echo silent)"
say clock "$(date +%s.%N)"
"""


# Stands in for a server that was installed before the machine was saved: it serves the key that it
# has read at its start.
MAKE_KEY = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
INSTALL_SERVER = f"""
{MAKE_KEY}
cat >/etc/systemd/system/ssh.service <<'END'
[Service]
ExecStart=/bin/sh -c 'cat /etc/ssh/ssh_host_ed25519_key.pub >/run/served-key; exec sleep infinity'
END
systemctl start ssh.service
until test -s /run/served-key; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def template(platform):
    return templates.require(platform, print)


@pytest.fixture(scope="module")
def layer(platform, template, tmp_path_factory):
    """A machine with ssh host keys, saved."""
    image, hardware = platform.image, platform.hardware
    home = tmp_path_factory.mktemp("uniqueness") / "layers"
    with snapshots.building(home, "with-keys") as directory:
        around = Surroundings(directory / "vm")
        with vm.clone(template, image, hardware, around, to_be_saved=True) as machine:
            assert run(machine, INSTALL_SERVER, user="root")[0] == 0
            saved = facts_of(machine)
            settle(machine.guest)
            machine.save(directory)
        return snapshots.publish(directory, home, "with-keys", {"at": 0, "facts": saved})


@pytest.fixture(scope="module")
def facts(platform, template, layer, tmp_path_factory):
    """Of two clones of one snapshot, and one of what that was made from, all at once."""
    with ExitStack() as stack:
        machines = [
            stack.enter_context(
                vm.clone(
                    snapshot,
                    platform.image,
                    platform.hardware,
                    Surroundings(tmp_path_factory.mktemp("machine") / "vm"),
                )
            )
            for snapshot in (layer, layer, template)
        ]
        return [facts_of(machine) for machine in machines]


def run(machine, script, user="build"):
    said = []
    status = machine.guest.run(["bash", "-c", script], said.append, user=user)
    return status, b"".join(said).decode()


def facts_of(machine):
    before = time.time()
    facts = dict(line.split("=", 1) for line in run(machine, FACTS)[1].splitlines())
    return {**facts, "asked": (before, time.time())}


@pytest.mark.parametrize(
    "name",
    ["urandom", "getrandom", "kernel-uuid", "machine-id", "dbus-machine-id", "hostname", "mac"],
)
def test_no_two_machines_share_it(facts, name):
    values = [each[name] for each in facts]
    assert all(values)
    assert len(set(values)) == len(values)


def test_host_keys_that_were_saved_are_made_anew_in_each_machine(facts, layer):
    first, second, without = (keys(each["host-keys"]) for each in facts)
    saved = keys(layer.made["facts"]["host-keys"])
    assert saved
    assert first
    assert second
    assert len(saved | first | second) == len(saved) + len(first) + len(second)
    assert without == set()


def keys(listed):
    """Without their kinds and whoever made them."""
    return {word for word in listed.split() if word.startswith("AAAA")}


def test_a_server_that_was_saved_serves_the_keys_that_its_machine_has_now(facts):
    for each in facts[:2]:
        assert each["served-key"]
        assert each["served-key"] in each["host-keys"]


def test_host_keys_are_made_anew_where_no_server_is_installed_too(boot_real):
    with boot_real() as machine:
        assert run(machine, MAKE_KEY, user="root")[0] == 0
        before = facts_of(machine)["host-keys"]
        machine.guest.become(Identity.new(), time.monotonic() + 60)
        assert not keys(before) & keys(facts_of(machine)["host-keys"])


def test_each_machine_knows_its_own_name_and_sudo_has_nothing_to_say(facts):
    for each in facts:
        assert each["hostname"] in each["name-of-address"]
        assert each["sudo"] == "silent"


def test_the_clock_is_right_however_old_the_snapshot_is(facts):
    for each in facts:
        before, after = each["asked"]
        assert before - 2 < float(each["clock"]) < after + 2
