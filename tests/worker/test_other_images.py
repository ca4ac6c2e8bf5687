"""Real guests that are not Debian's stable release on a PC: its unstable one, another processor's,
and one that its firmware boots. They go the way of every job: booted once, saved, continued.
"""

import hashlib
import json
import struct
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht import catalogue
from buildsrht.models import JobStatus
from buildsrht.services import jobs
from tests.worker.conftest import replace_in
from tests.worker.fakes import perform
from tests.worker.outcome import outcome_of
from tests.worker.saved import Said, copy_snapshot, wanted
from worker import machines, templates, vm
from worker.images import BuiltImage
from worker.machines import find_platform
from worker.vm import Surroundings

# A loaded host emulates at half its speed.
pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]


@pytest.fixture
def run_job(host_config, backend, owner):
    """Run the job of these manifest keys from submission to end; returns its outcome."""

    def run(**manifest):
        config = replace(
            backend.config,
            images=host_config.images,
            snapshots=host_config.snapshots,
            network=host_config.network,
        )
        known = catalogue.load(config.images.recipes)
        plan = jobs.read_manifest(known, json.dumps(manifest))
        real = replace(backend, config=config, catalogue=known)
        job = jobs.submit(real, owner, jobs.Submission(plan))
        perform(real, job.id, machines.start)
        return outcome_of(real, job.id)

    return run


def run(machine, script):
    output = []
    assert machine.guest.run(["bash", "-c", script], output.append) == 0, output
    return b"".join(output).decode()


# --- debian/sid -----------------------------------------------------------------------------------


def test_a_job_on_the_unstable_release_installs_from_its_archive(run_job):
    look = "hello\ncat /etc/os-release\ngrep -hE '^(deb|Suites)' -r /etc/apt/sources.list*"
    outcome = run_job(
        image="debian/unstable", layers=False, packages=["hello"], tasks=[{"look": look}]
    )
    assert outcome.status == JobStatus.SUCCESS, outcome
    assert "starting debian/sid (amd64)" in outcome.setup_log
    log = outcome.logs["look"]
    assert "Hello, world!" in log
    assert "/sid" in log, "the release's name is that of the next one, and sid"
    [source] = [line for line in log.splitlines() if line.startswith(("deb ", "Suites"))]
    assert "sid" in source.split()


# --- arm64 ----------------------------------------------------------------------------------------


def test_a_job_for_another_processor_runs_on_it(run_job):
    look = """
        [ -t 1 ]
        uname -m
        dpkg --print-architecture
        python3 -c 'import platform; print(platform.machine())'
        sudo id -un
        head -c 300000 /dev/urandom >noise
        sha256sum noise
    """
    outcome = run_job(
        image="debian/bookworm", arch="arm64", tasks=[{"look": look}], artifacts=["noise"]
    )
    assert outcome.status == JobStatus.SUCCESS, outcome
    assert "starting debian/bookworm (arm64)" in outcome.setup_log
    said = [line for line in outcome.logs["look"].splitlines() if not line.startswith("+")]
    assert said[:4] == ["aarch64", "arm64", "aarch64", "root"]
    noise = outcome.artifacts["noise"]
    assert len(noise) == 300_000
    assert said[4].split() == [hashlib.sha256(noise).hexdigest(), "noise"]


def test_nothing_of_the_host_that_built_it_is_in_an_image_for_another_processor(boot_real):
    with boot_real("debian/bookworm", "arm64") as machine:
        lent = "ls -d /host-tools* /lib64 /usr/lib/x86_64-linux-gnu /etc/apt/apt.conf.d/00host*"
        assert run(machine, f"{lent} 2>/dev/null || true") == ""
        assert run(machine, "dpkg --audit; systemctl --failed --no-legend --plain") == ""


REPOSITORY = "http://packages.invalid bookworm main"
FACTS = "cat /etc/machine-id /sys/class/net/eth0/address; od -An -tx1 -N16 /dev/urandom"


def test_machines_of_another_processor_are_saved_with_their_packages_and_continued(
    host_config, tmp_path
):
    """Two at once from one layer, which share nothing that has to be a machine's own."""
    config = replace_in(host_config, "snapshots", path=tmp_path / "snapshots")
    platform = find_platform(config, "debian/bookworm", "arm64")
    copy_snapshot(
        templates.require(find_platform(host_config, "debian/bookworm", "arm64"), print),
        templates.home_of(platform),
    )
    with ExitStack() as stack:
        twins = []
        for number in range(2):
            said = Said()
            want = wanted(config, tmp_path / f"run-{number}", said, repositories={"a": REPOSITORY})
            want = replace(want, image="debian/bookworm", arch="arm64")
            twins.append(stack.enter_context(machines.start(want)))
        assert said.about("made at"), "the second found what the first had made"
        assert [twin.has_packages for twin in twins] == [True, True]
        facts = [run(twin, FACTS).splitlines() for twin in twins]
        for twin in twins:
            assert "packages.invalid" in run(twin, "cat /etc/apt/sources.list.d/a.list")
    assert all(one != other for one, other in zip(*facts, strict=True))


# --- without a kernel that QEMU could load --------------------------------------------------------


GRUB = Path("/usr/lib/grub/i386-pc")
SECTOR = 512


def install_loader(image: BuiltImage, disk: Path) -> None:
    """A copy of an image's disk that boots by itself: its kernel lies in its file system, the
    loader's first sector where a file system leaves room for it, and the rest of it at the end."""
    subprocess.run(["cp", "--sparse=always", image.disk, disk], check=True)
    into = f"write {image.kernel} /kernel\nwrite {image.initrd} /initrd\n"
    debugfs = ["/sbin/debugfs", "-w", "-f", "/dev/stdin", disk]
    subprocess.run(debugfs, input=into, text=True, check=True)
    config, core = disk.with_name("grub.cfg"), disk.with_name("core.img")
    config.write_text(f"set root=hd0\nlinux /kernel {image.cmdline}\ninitrd /initrd\nboot\n")
    make = ["grub-mkimage", "-O", "i386-pc", "-p", "/", "-c", config, "-o", core]
    subprocess.run([*make, "biosdisk", "ext2", "linux"], check=True)

    end = disk.stat().st_size // SECTOR
    first, rest = bytearray((GRUB / "boot.img").read_bytes()), bytearray(core.read_bytes())
    # Each part knows where the next one lies: i386/pc/boot.h and diskboot.S of GRUB.
    struct.pack_into("<Q", first, 0x5C, end)
    struct.pack_into("<Q", rest, SECTOR - 12, end + 1)
    with disk.open("r+b") as file:
        file.write(first)
        file.seek(end * SECTOR)
        file.write(rest)
        file.truncate(end * SECTOR + 2**20)


def test_a_disk_without_a_kernel_beside_it_is_booted_saved_and_continued(platform, tmp_path):
    home = tmp_path / "images/own/disk/amd64"
    (home / "built").mkdir(parents=True)
    (home / "current").symlink_to("built")
    install_loader(platform.image, home / "built/disk.raw")
    for extra in (home / "built").glob("[!d]*"):
        extra.unlink()
    config = replace_in(platform.config, "images", path=tmp_path / "images")
    config = replace_in(config, "snapshots", path=tmp_path / "snapshots")
    config = replace_in(config, "worker", accelerator=platform.hardware.accelerator)

    own = find_platform(config, "own/disk", "amd64")
    template = templates.require(own, print)
    assert template, "it was booted and saved"
    assert template.kernel is None
    with vm.clone(template, own.image, own.hardware, Surroundings(tmp_path / "run/vm")) as machine:
        assert run(machine, "grep -c BOOT_IMAGE=/kernel /proc/cmdline; sudo id -un") == "1\nroot\n"
