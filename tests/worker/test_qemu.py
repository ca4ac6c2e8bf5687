"""QEMU's command line: what must be the same for a saved machine to go on."""

import itertools
import json
from dataclasses import replace

import pytest

from worker import qemu
from worker.qemu import Hardware, Memory, Parts

HARDWARE = Hardware("tcg", memory=512 * 2**20, cpus=2)
PARTS = Parts(
    name="/srv/1-1/vm",
    kernel=10,
    initrd=11,
    cmdline="console=ttyS0 root=/dev/vda",
    disks=[12, 13],
    agent=14,
    console=15,
    monitor=16,
    hardships=17,
    memory=Memory(18, shared=True),
)


def command(arch="amd64", hardware=HARDWARE, **parts):
    return qemu.command(arch, hardware, replace(PARTS, **parts))


def values(command, option):
    """What follows each use of an option."""
    return [value for name, value in itertools.pairwise(command) if name == option]


def test_a_machine_that_continues_has_the_very_same_devices_as_one_that_boots():
    booted, continued = command(), command(incoming=True)
    assert continued == [*booted, "-incoming", "defer"]


def test_a_machine_that_continues_has_the_same_devices_whatever_lies_under_its_disk():
    saved, layered = command(incoming=True), command(disks=[12, 13, 18, 19], incoming=True)
    for option in ("-machine", "-cpu", "-smp", "-m", "-netdev", "-chardev", "-serial", "-mon"):
        assert values(saved, option) == values(layered, option)
    assert [device.partition("drive=")[0] for device in values(saved, "-device")] == [
        device.partition("drive=")[0] for device in values(layered, "-device")
    ]


@pytest.mark.parametrize(
    ("arches", "binary", "machine"),
    [
        (("amd64", "x86_64"), "qemu-system-x86_64", "q35"),
        (("arm64", "aarch64"), "qemu-system-aarch64", "virt"),
    ],
)
def test_a_processor_is_known_by_each_name_that_distributions_have_for_it(arches, binary, machine):
    one, other = (command(arch) for arch in arches)
    assert one == other
    assert one[0] == binary
    assert values(one, "-machine")[0].split(",")[0] == machine


@pytest.mark.parametrize("arch", qemu.MACHINES)
def test_under_kvm_a_guest_sees_the_host_s_own_processor(arch):
    under_kvm = command(arch, replace(HARDWARE, accelerator="kvm"))
    assert (values(under_kvm, "-accel"), values(under_kvm, "-cpu")) == (["kvm"], ["host"])


@pytest.mark.parametrize("arch", ["amd64", "x86_64"])
def test_an_emulated_guest_is_not_offered_what_the_emulation_gets_wrong(arch):
    assert values(command(arch), "-cpu") == ["max,cx16=off"]


def test_without_a_kernel_the_machine_is_left_to_its_firmware():
    with_kernel = command()
    booted_by_firmware = command(kernel=None, initrd=None)
    assert [values(with_kernel, option) for option in ("-kernel", "-initrd", "-append")] == [
        ["/proc/self/fd/10"],
        ["/proc/self/fd/11"],
        [PARTS.cmdline],
    ]
    assert set(with_kernel) - set(booted_by_firmware) == {
        *("-kernel", "/proc/self/fd/10", "-initrd", "/proc/self/fd/11"),
        *("-append", PARTS.cmdline),
    }


def test_only_the_top_disk_is_written_to():
    nodes = [json.loads(node) for node in values(command(disks=[12, 13, 14]), "-blockdev")]
    writable = {node["node-name"] for node in nodes if not node["read-only"]}
    assert writable == {"file2", "disk2"}


def test_each_disk_lies_over_the_one_before_and_the_lowest_is_raw():
    nodes = [json.loads(node) for node in values(command(disks=[12, 13, 14]), "-blockdev")]
    disks = {node["node-name"]: node for node in nodes if node["node-name"].startswith("disk")}
    assert [disk["driver"] for disk in disks.values()] == ["raw", "qcow2", "qcow2"]
    assert [disk.get("backing") for disk in disks.values()] == [None, "disk0", "disk1"]


@pytest.mark.parametrize(("shared", "share"), [(True, "on"), (False, "off")])
def test_what_the_guest_writes_to_memory_is_kept_only_where_it_is_shared(shared, share):
    [backend] = values(command(memory=Memory(17, shared=shared)), "-object")
    assert backend.endswith(f"mem-path=/proc/self/fd/17,share={share}")
    assert f"size={HARDWARE.memory}" in backend


def test_memory_that_is_to_be_loaded_has_the_same_name_and_no_file():
    [backend] = values(command(memory=Memory(None, shared=False)), "-object")
    assert backend == f"memory-backend-ram,id=ram,size={HARDWARE.memory}"
    assert "memory-backend=ram" in values(command(memory=Memory(None, shared=False)), "-machine")


def test_a_machine_that_is_never_saved_needs_no_file_for_its_memory():
    assert values(command(memory=None), "-object") == []


def test_every_file_is_an_open_descriptor_and_no_path_of_this_host_is_named():
    words = " ".join(command()[1:]).replace("/proc/self/fd/", "").replace("/dev/fdset/", "")
    paths = [word for word in words.replace("=", " ").split() if word.startswith("/")]
    assert paths == ["/srv/1-1/vm", "/dev/vda"]


def test_all_of_its_descriptors_are_told_for_them_to_be_handed_down():
    assert sorted(PARTS.descriptors) == list(range(10, 19))
    without_kernel = replace(PARTS, kernel=None, initrd=None)
    assert sorted(without_kernel.descriptors) == list(range(12, 19))


def test_a_comma_in_a_directory_s_name_ends_no_option():
    [name] = values(command(name="/srv,debug-threads=on/1-1/vm"), "-name")
    assert name.replace(",,", "").count(",") == 0
    assert name.replace(",,", ",").endswith("/srv,debug-threads=on/1-1/vm")


def test_an_equals_sign_in_a_directory_s_name_makes_no_option_of_it():
    [name] = values(command(name="/srv=1/1-1/vm"), "-name")
    assert name == "guest=/srv=1/1-1/vm"


def test_the_confinement_that_qemu_has_of_its_own_is_switched_on():
    [sandbox] = values(command(), "-sandbox")
    assert sandbox.split(",") == [
        "on",
        *(f"{what}=deny" for what in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol")),
    ]
