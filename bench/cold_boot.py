"""The way that builds.sr.ht starts a job, with the same image on the same hardware.

The image is booted from cold for each job. Its ssh server is asked once a second until it answers;
then each step is an ssh call of its own: send the task, send the environment, run the task. The
image has no ssh server, so a machine gets one first, and is shut down; that is not measured.
"""

import select
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from bench import manifests
from bench.errors import MeasurementFailed
from bench.figures import Figures, Summary
from bench.place import Place
from bench.plain_qemu import started
from bench.service import free_port
from buildsrht import manifest as syntax
from buildsrht import processes
from worker import environment, vm
from worker.errors import GuestLost
from worker.guest import Guest
from worker.packages import INSTALL

REPETITIONS = 3
PREPARE_SECONDS = 300
BOOT_SECONDS = 180
CALL_SECONDS = 60
ASK_EVERY_SECONDS = 1
# Before the guest has a network nobody refuses a connection; this is how long an ask may hang then.
CONNECT_SECONDS = 2
KEY = "ssh-key"
AUTHORIZE = """
set -e
install -d -m 700 -o build -g build ~build/.ssh
printf '%s\\n' "$1" >~build/.ssh/authorized_keys
chown build:build ~build/.ssh/authorized_keys
systemctl enable ssh
"""


def measure(place: Place) -> Figures:
    key = _make_key(place.directory / KEY)
    disk = _disk_with_ssh(place, key)
    answered, first_bytes = [], []
    for _ in range(REPETITIONS):
        answer, first_byte = _boot(place, disk, key)
        answered.append(answer)
        first_bytes.append(first_byte)
    return Figures(
        seconds={
            "cold_boot_ssh": Summary.of(first_bytes),
            "cold_boot_until_ssh_answers": Summary.of(answered),
        }
    )


# --- preparing ------------------------------------------------------------------------------------


def _make_key(key: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True, timeout=CALL_SECONDS)
    return key


def _disk_with_ssh(place: Place, key: Path) -> Path:
    """What lies over the template's disk when it has an ssh server that lets `key` in."""
    platform = place.platform
    directory = place.directory / "with-ssh"
    around = vm.Surroundings(directory, guard=vm.within(PREPARE_SECONDS))
    with vm.clone(place.template, platform.image, platform.hardware, around) as machine:
        _run_as_root(machine.guest, INSTALL, "openssh-server")
        public = key.with_suffix(".pub").read_text().strip()
        _run_as_root(machine.guest, "bash", "-c", AUTHORIZE, "authorize", public)
        with suppress(GuestLost):
            machine.guest.run(["systemctl", "poweroff"], lambda _: None, user="root")
        if not processes.has_ended(machine.pid, CALL_SECONDS):
            raise MeasurementFailed("the machine with an ssh server did not shut down")
        [overlay] = directory.glob("*.qcow2")
        return Path(shutil.copy(overlay, place.directory / "with-ssh.qcow2"))


def _run_as_root(guest: Guest, *argv: str) -> None:
    said: list[bytes] = []
    status = guest.run(argv, said.append, user="root")
    if status != 0:
        text = b"".join(said).decode(errors="replace")
        raise MeasurementFailed(f"{argv[0]}: exit status {status}\n{text}")


# --- measuring ------------------------------------------------------------------------------------


def _boot(place: Place, disk: Path, key: Path) -> tuple[float, float]:
    """Seconds from QEMU's start until ssh answers, and until the task's first byte."""
    template = place.template
    overlay = Path(shutil.copy(template.empty_disk, place.directory / "cold.qcow2"))
    port = free_port()
    ssh = _ssh(key, port)
    job = syntax.parse(manifests.TRIVIAL)
    begun = time.monotonic()
    with started(place.platform, [*template.disks, disk, overlay], BOOT_SECONDS, forward=port):
        _ask_until_it_answers(ssh, begun + BOOT_SECONDS)
        answered = time.monotonic()
        _send(ssh, f"{environment.TASKS}/task", environment.task_script(job.tasks[0]))
        _send(ssh, environment.BUILD_ENVIRONMENT, environment.build_environment(job, {}))
        first_byte = _run_task(ssh)
    return answered - begun, first_byte - begun


def _ssh(key: Path, port: int) -> list[str]:
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
    }
    said = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    # No configuration of whoever runs this.
    return ["ssh", "-F", "none", "-i", str(key), "-p", str(port), *said, "build@127.0.0.1"]


def _ask_until_it_answers(ssh: list[str], deadline: float) -> None:
    said = b""
    while time.monotonic() < deadline:
        asked = time.monotonic()
        done = subprocess.run(
            [*ssh, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_SECONDS
        )
        if done.returncode == 0:
            return
        said = done.stderr
        time.sleep(max(asked + ASK_EVERY_SECONDS - time.monotonic(), 0))
    raise MeasurementFailed(f"ssh did not answer within {BOOT_SECONDS} s: {said!r}")


def _send(ssh: list[str], path: str, text: str) -> None:
    receive = f"mkdir -p $(dirname {path}) && cat >{path} && chmod 755 {path}"
    done = subprocess.run(
        [*ssh, receive], input=text.encode(), capture_output=True, timeout=CALL_SECONDS
    )
    if done.returncode != 0:
        raise MeasurementFailed(f"ssh, {path}: {done.stderr!r}")


def _run_task(ssh: list[str]) -> float:
    """When the first byte of the task's output was here."""
    with subprocess.Popen(
        [*ssh, f"{environment.TASKS}/task 2>&1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            assert process.stdout
            select.select([process.stdout], [], [], CALL_SECONDS)
            first_byte = time.monotonic()
            output, _ = process.communicate(timeout=CALL_SECONDS)
        finally:
            process.kill()
    if output != manifests.TRIVIAL_LOG:
        raise MeasurementFailed(f"ssh, the task: {output!r}")
    return first_byte
