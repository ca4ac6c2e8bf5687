"""QEMU's command line for one machine, from what the machine is made of.

Whatever is used as a file comes as an open descriptor, so that QEMU needs no right to any path of
this host. The same machine description boots an image, and continues a saved machine: QEMU
accepts a saved state only into the very same devices.

Pure: starts nothing, opens nothing. The options are QEMU's own, see qemu-system(1).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

AGENT_PORT = "org.buildsrht.agent"
GUEST_NETWORK = "10.0.3.0/24"
# Until the guest takes its own.
MAC = "52:54:00:00:00:01"


@dataclass(frozen=True)
class Machine:
    """What QEMU needs to know of a processor family. On a host whose own processor it is, by the
    name that uname(2) has for it, KVM may run it."""

    binary: str
    options: tuple[str, ...]
    emulated_cpu: str
    native_to: str


# q35 has the timers that microvm lacks; under emulation a kernel without one hangs at times. QEMU
# 7.2 leaves nonsense in the flags when it emulates CMPXCHG16B: an interrupt right behind one can
# bring a guest's kernel down. Kernels that are not offered it allocate memory without.
_PC = Machine("qemu-system-x86_64", ("-machine", "q35"), "max,cx16=off", "x86_64")
# The hash that signs pointers is by far the most expensive instruction to emulate; a build needs a
# processor that has it, not one that keeps strangers out by it.
_ARM = Machine(
    "qemu-system-aarch64", ("-machine", "virt,gic-version=max"), "max,pauth-impdef=on", "aarch64"
)
# By every name that a distribution has for it: images say `arches` in their distribution's words.
MACHINES = {"amd64": _PC, "x86_64": _PC, "arm64": _ARM, "aarch64": _ARM}
KVM_DEVICE = Path("/dev/kvm")


@dataclass(frozen=True)
class Hardware:
    """The size of a VM, and what makes it run. Memory in bytes."""

    accelerator: str
    memory: int
    cpus: int


@dataclass(frozen=True)
class Memory:
    """A file that holds the guest's memory. What the guest writes goes to the file if it is
    shared, else it stays with this guest. Without a file it is empty, and this guest's alone: the
    same device to a state that is loaded into it, as one without any of this is not."""

    file: int | None
    shared: bool


@dataclass(frozen=True)
class Parts:
    """Everything of a machine that is a file or a connection: open descriptors of ours.

    `disks` begin with the raw one of the image; each of the others is qcow2, over the one before;
    the last is the one that is written to.
    """

    name: str
    # Without one the machine's firmware boots the disk.
    kernel: int | None
    # A machine that is continued never asks for it.
    initrd: int | None
    cmdline: str
    disks: Sequence[int]
    agent: int
    console: int
    monitor: int
    hardships: int
    memory: Memory | None = None
    # Wait for a saved state instead of booting.
    incoming: bool = False

    @property
    def descriptors(self) -> list[int]:
        sockets = [self.agent, self.console, self.monitor, self.hardships]
        memory = [] if self.memory is None or self.memory.file is None else [self.memory.file]
        system = [each for each in (self.kernel, self.initrd) if each is not None]
        return [*system, *self.disks, *sockets, *memory]


def command(arch: str, hardware: Hardware, parts: Parts) -> list[str]:
    machine = MACHINES[arch]
    return [
        # By its name the janitor knows whose it is.
        *(machine.binary, "-name", f"guest={escaped(parts.name)}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *machine.options,
        *_processor(machine, hardware.accelerator),
        *("-smp", str(hardware.cpus), "-m", f"{hardware.memory // 2**20}M"),
        *_memory(hardware, parts.memory),
        *_system(parts),
        *_disks(parts.disks),
        *("-netdev", f"user,id=net,net={GUEST_NETWORK},ipv6=off"),
        *("-device", f"virtio-net-pci,netdev=net,mac={MAC},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"socket,id=agent,fd={parts.agent}"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
        *("-chardev", f"socket,id=console,fd={parts.console}", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=monitor,fd={parts.monitor}"),
        *("-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=hardships,fd={parts.hardships}"),
        *("-mon", "chardev=hardships,mode=control"),
        *(("-incoming", "defer") if parts.incoming else ()),
    ]


def escaped(text: str) -> str:
    """In QEMU's options a comma ends a value."""
    return text.replace(",", ",,")


def _processor(machine: Machine, accelerator: str) -> list[str]:
    if accelerator == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", machine.emulated_cpu]


def _system(parts: Parts) -> list[str]:
    if parts.kernel is None:
        return []
    # Opening these names opens the descriptor's file anew, which then starts at its beginning.
    options = ["-kernel", f"/proc/self/fd/{parts.kernel}", "-append", parts.cmdline]
    if parts.initrd is not None:
        options += ["-initrd", f"/proc/self/fd/{parts.initrd}"]
    return options


def _memory(hardware: Hardware, memory: Memory | None) -> list[str]:
    if memory is None:
        return []
    backend = f"memory-backend-ram,id=ram,size={hardware.memory}"
    if memory.file is not None:
        share = "on" if memory.shared else "off"
        path = f"/proc/self/fd/{memory.file}"
        backend = f"memory-backend-file,id=ram,size={hardware.memory},mem-path={path},share={share}"
    return ["-object", backend, "-machine", "memory-backend=ram"]


def _disks(descriptors: Sequence[int]) -> list[str]:
    options = []
    for position, descriptor in enumerate(descriptors):
        is_top = position == len(descriptors) - 1
        file = {
            "driver": "file",
            "node-name": f"file{position}",
            "filename": f"/dev/fdset/{position}",
            "read-only": not is_top,
            # Nothing of a machine's own disk is worth keeping, so no write waits for the host's.
            "cache": {"no-flush": True},
            "discard": "unmap",
        }
        node: dict[str, object] = {
            "driver": "qcow2" if position else "raw",
            "node-name": f"disk{position}",
            "file": f"file{position}",
            "read-only": not is_top,
            "cache": {"no-flush": True},
            "discard": "unmap",
        }
        if position:
            node["backing"] = f"disk{position - 1}"
        options += ["-add-fd", f"fd={descriptor},set={position}"]
        options += ["-blockdev", json.dumps(file), "-blockdev", json.dumps(node)]
    # What the host cannot write or read stops the machine, and is told: see worker.hardships.
    top = f"disk{len(descriptors) - 1}"
    return [*options, "-device", f"virtio-blk-pci,drive={top},werror=stop,rerror=stop"]
