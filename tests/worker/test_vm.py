"""Real machines: that they come up, what they reach, how they go, and that nothing stays."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import pytest

from buildsrht import processes
from buildsrht.config import destinations
from tests.worker.conftest import FIRST_MIRROR, own_addresses
from worker import vm
from worker.errors import BootTimeout, GuestLost
from worker.images import BuiltImage
from worker.janitor import pids_naming
from worker.vm import Surroundings

pytestmark = pytest.mark.vm


def run(machine, script, user="build"):
    output = []
    status = machine.guest.run(["bash", "-c", script], output.append, user=user)
    return status, b"".join(output).decode()


# --- what a guest is ------------------------------------------------------------------------------


def test_the_guest_is_a_whole_system_with_its_real_init(real_machine):
    assert run(real_machine, "cat /proc/1/comm") == (0, "systemd\n")
    assert run(real_machine, "systemctl --failed --no-legend --plain", user="root") == (0, "")


def test_no_kernel_uses_the_instruction_that_the_emulation_gets_wrong(real_machine):
    emulated = real_machine.body.hardware.accelerator == "tcg"
    _, found = run(real_machine, "grep -cw cx16 /proc/cpuinfo || true")
    assert (int(found) == 0) == emulated


def test_the_user_becomes_root_without_a_password(real_machine):
    assert run(real_machine, "sudo id -u") == (0, "0\n")


def test_it_is_the_release_that_its_name_says(real_machine):
    assert (
        run(real_machine, ". /etc/os-release; echo $ID/$VERSION_CODENAME")[1] == "debian/trixie\n"
    )


def test_the_older_release_boots_too(boot_real):
    with boot_real("debian/bookworm") as machine:
        said = run(machine, ". /etc/os-release; echo $ID/$VERSION_CODENAME; sudo id -un")[1]
    assert said == "debian/bookworm\nroot\n"


# --- what it reaches ------------------------------------------------------------------------------


def test_it_reaches_the_package_mirror_by_name(real_machine):
    script = f"curl -sSf -o /dev/null -w '%{{http_code}}' $({FIRST_MIRROR})/"
    assert run(real_machine, script) == (0, "200")


@contextmanager
def listener(address: str):
    """A server on this host that greets whoever connects; knows how many did."""
    with socket.create_server((address, 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()
        greeted = []

        def serve():
            while not over.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.sendall(b"hello from the host\n")
                    greeted.append(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], greeted
        finally:
            over.set()
            thread.join()


def ask(machine, address, port):
    return run(machine, f"timeout 10 bash -c 'cat </dev/tcp/{address}/{port}' 2>&1")[1]


def test_it_reaches_no_listener_on_this_host_by_any_address(real_machine):
    """Loopback, QEMU's and slirp4netns' names for it, and every address that the host has."""
    with listener("0.0.0.0") as (port, greeted):
        for address in ["127.0.0.1", "10.0.3.2", "10.0.2.2", *own_addresses()]:
            assert "hello" not in ask(real_machine, address, port), address
    assert greeted == []


GREETER = """
import socket
with socket.create_server(("", 4444)) as server:
    while True:
        with server.accept()[0] as connection:
            connection.sendall(b"hello from a guest\\n")
"""


def test_it_reaches_no_other_guest(real_machine, boot_real):
    """Both have the same address, each in a network of its own."""
    with boot_real() as other:
        assert run(other, f"setsid python3 -c '{GREETER}' >/dev/null 2>&1 &") == (0, "")
        wait_until(lambda: "hello" in ask(other, "10.0.3.15", 4444))
        for address in ["10.0.3.15", "10.0.3.2", "10.0.2.2", "10.0.2.100", *own_addresses()]:
            assert "hello" not in ask(real_machine, address, 4444), address


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"]
)
def test_private_and_link_local_addresses_are_refused_at_once(real_machine, address):
    begin = time.monotonic()
    assert "refused" in ask(real_machine, address, 80)
    assert time.monotonic() - begin < 5


def test_it_reaches_what_the_operator_excepts_and_nothing_beside_it(boot_real):
    """The same question to the same listener as above, which shows that above could fail."""
    address = own_addresses()[0]
    with (
        listener("0.0.0.0") as (port, _),
        listener("0.0.0.0") as (other_port, greeted),
        boot_real(allow=destinations(f"{address}:{port}")) as machine,
    ):
        assert ask(machine, address, port) == "hello from the host\n"
        assert "refused" in ask(machine, address, other_port)
    assert greeted == []


def test_dns_still_answers_when_only_the_resolver_is_private(real_machine):
    script = f"getent hosts $({FIRST_MIRROR} | cut -d/ -f3)"
    assert run(real_machine, script)[0] == 0


# --- how it goes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "explanation"),
    [
        ("sudo systemctl poweroff; sleep 60", "shut down from inside"),
        ("sudo systemctl reboot; sleep 60", "shut down from inside"),
        ("sudo poweroff --force --force", "powered itself off"),
        ("echo c | sudo tee /proc/sysrq-trigger; sleep 60", "kernel panicked"),
    ],
)
def test_a_guest_that_ends_by_itself_is_noticed_within_ten_seconds(boot_real, script, explanation):
    with boot_real() as machine:
        begin = time.monotonic()
        with pytest.raises(GuestLost) as lost:
            run(machine, script)
        assert explanation in (str(lost.value) or machine.explain_loss().reason)
        assert time.monotonic() - begin < 10


def test_a_kernel_that_its_emulation_has_misled_is_not_its_builds_fault(boot_real):
    oops = "echo '<0>Oops: int3: 0000 [#1]' | sudo tee /dev/kmsg"
    with boot_real() as machine:
        with pytest.raises(GuestLost):
            run(machine, f"{oops}; echo c | sudo tee /proc/sysrq-trigger; sleep 60")
        loss = machine.explain_loss()
    assert loss.was_killed
    assert "emulated" in loss.reason


@pytest.fixture
def small_disk(tmp_path):
    """A directory with room for no more than 64 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_machine_that_the_hosts_disk_fails_is_lost_by_the_hosts_fault(small_disk, boot_real):
    """And not by that of its build, which would have gone on without what it had written."""
    with boot_real(directory=small_disk / "vm") as machine:
        with pytest.raises(GuestLost):
            run(machine, "head -c 256M /dev/urandom >big; sync; sleep 60")
        loss = machine.explain_loss()
    assert loss.reason == "the disk of the build host failed it: No space left on device"
    assert loss.was_killed


def test_leaving_the_block_leaves_no_process_and_no_file(platform, tmp_path):
    directory = tmp_path / "vm"
    with pytest.raises(BootTimeout):
        boot_and_kill(platform, directory, after_seconds=0.5)
    assert pids_naming(str(directory)) == []
    assert not directory.exists()


def test_a_machine_that_is_killed_while_it_boots_is_gone_within_two_seconds(platform, tmp_path):
    begin = time.monotonic()
    with pytest.raises(BootTimeout):
        boot_and_kill(platform, tmp_path / "vm", after_seconds=0)
    assert time.monotonic() - begin < 2


def boot_and_kill(platform, directory, after_seconds):
    """Both attempts at a boot, each killed soon after its process has started."""

    @contextmanager
    def guard(kill):
        timer = threading.Timer(after_seconds, kill)
        timer.start()
        yield
        timer.join()

    around = Surroundings(directory, guard=guard)
    with vm.boot(platform.image, platform.hardware, around, timeout=60):
        pass


def test_an_image_without_a_system_fails_with_the_end_of_its_console(platform, tmp_path):
    good = platform.image
    broken = tmp_path / "image"
    broken.mkdir()
    for name in ("kernel", "initrd"):
        (broken / name).symlink_to(good.directory / name)
    (broken / "cmdline").write_text(
        "console=ttyS0 root=/dev/vda panic=-1 rdinit=/no-such-init init=/no"
    )
    with (broken / "disk.raw").open("wb") as disk:
        disk.truncate(2**20)
    image = BuiltImage("broken", "amd64", broken)
    with (
        pytest.raises(BootTimeout, match="Kernel panic"),
        vm.boot(image, platform.hardware, Surroundings(tmp_path / "vm"), timeout=120),
    ):
        pass


def test_a_machine_does_not_outlive_a_process_that_is_killed(tmp_path):
    """As RQ kills a work horse: SIGKILL, so that nothing of ours gets to run."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from buildsrht import config
        from worker import vm
        from worker.images import require_built
        from worker.qemu import Hardware

        image = require_built(config.load(), "debian/trixie", "amd64")
        class Guard:
            def __init__(self, kill): print("started", flush=True)
            def __enter__(self): pass
            def __exit__(self, *exc): pass
        around = vm.Surroundings(Path(sys.argv[1]), guard=Guard)
        with vm.boot(image, Hardware("tcg", 2**29, 1), around, timeout=120):
            pass
        """
    )
    directory = tmp_path / "vm"
    command = [sys.executable, "-c", program, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"started\n"
        pids = pids_naming(str(directory))
        assert pids
        parent.send_signal(signal.SIGKILL)
    assert all(processes.has_ended(pid, wait_seconds=10) for pid in pids)
