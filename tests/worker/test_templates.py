"""A template is made once, tried, found again, and done without where it cannot be made.

The fast tests pretend the machines, so that what they say is about when one is made and by whom.
"""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht import config as settings
from buildsrht import processes
from tests.worker.conftest import replace_in
from tests.worker.saved import IMAGE, Said, overwrite, pretend, pretend_boot
from worker import janitor, platforms, qemu, snapshots, templates, vm
from worker.directories import locked_patiently
from worker.errors import BootTimeout, RunnerError, SnapshotBroken
from worker.machines import find_platform
from worker.templates import RETRY_SECONDS

ROOT = Path(__file__).parents[2]
BOOTED = f"Booting {IMAGE} once, for jobs to go on from."


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """A platform on which machines are pretended."""
    return find_platform(pretend(monkeypatch, tmp_path), IMAGE, "amd64")


def require(platform, said=None):
    return templates.require(platform, (said or Said()).say)


# --- what it is of --------------------------------------------------------------------------------


def test_the_same_image_on_the_same_hardware_has_the_same_key(pretended):
    assert replace(pretended).key == pretended.key


@pytest.mark.parametrize("change", [{"memory": 2**29}, {"cpus": 1}, {"accelerator": "kvm"}])
def test_other_hardware_is_another_platform(pretended, change):
    other = replace(pretended, hardware=replace(pretended.hardware, **change))
    assert other.key != pretended.key


@pytest.mark.parametrize("change", [{"directory": Path("build-2")}, {"name": "debian/bookworm"}])
def test_another_build_or_another_image_is_another_platform(pretended, change):
    assert replace(pretended, image=replace(pretended.image, **change)).key != pretended.key


def test_another_qemu_is_another_platform(pretended, monkeypatch, tmp_path):
    program = tmp_path / "qemu-system-x86_64"
    program.write_text("version 1")
    program.chmod(0o755)
    before = pretended.key
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    first = replace(pretended).key
    program.write_text("version 2.0")
    assert len({before, first, replace(pretended).key}) == 3


def test_other_devices_are_another_platform(pretended, monkeypatch):
    machine = qemu.MACHINES["amd64"]
    before = replace(pretended).key
    other = replace(machine, options=("-machine", "microvm"))
    monkeypatch.setitem(qemu.MACHINES, "amd64", other)
    assert replace(pretended).key != before


# --- when it is made ------------------------------------------------------------------------------


def test_it_is_made_when_it_is_first_needed_and_found_from_then_on(pretended):
    said = Said()
    made = require(pretended, said)
    assert (said.lines, require(pretended, said)) == ([BOOTED], made)
    assert said.lines == [BOOTED]


def test_all_that_need_it_at_once_wait_for_the_one_that_makes_it(pretended):
    saids = [Said() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda said: require(pretended, said), saids))
    assert len({each.made_at for each in found}) == 1
    assert sorted(said.lines for said in saids) == [[], [], [], [BOOTED]]


def test_one_that_is_damaged_is_said_to_be_and_made_anew(pretended):
    overwrite(require(pretended).state)
    said = Said()
    assert require(pretended, said).is_intact()
    assert said.lines == [
        f"state of snapshot {pretended.key} is not what was saved: it is made anew.",
        BOOTED,
    ]


# --- when it cannot be made -----------------------------------------------------------------------


def raising(error):
    @contextmanager
    def start(*_, **options):
        raise error
        yield

    return start


@pytest.fixture(
    params=[
        (platforms, "SETTLE", "false"),
        (vm, "boot", raising(BootTimeout("it did not come up"))),
        (vm, "boot", raising(OSError(errno.ENOSPC, "No space left on device"))),
        (vm, "clone", raising(SnapshotBroken("it does not come back to life"))),
    ],
    ids=["does not settle", "does not boot", "full disk", "does not come back"],
)
def trouble(request, monkeypatch, pretended):
    """What goes wrong, for as long as a block of it runs."""

    @contextmanager
    def troubled():
        with monkeypatch.context() as changed:
            changed.setattr(*request.param)
            yield

    return troubled


def test_without_one_the_reason_is_said_and_nothing_half_made_is_left(pretended, trouble):
    said = Said()
    with trouble():
        assert require(pretended, said) is None
    [line] = said.about("No snapshot of")
    assert line.startswith(f"No snapshot of {IMAGE} could be made: ")
    home = templates.home_of(pretended)
    assert {path.suffix for path in home.iterdir()} == {".lock", ".failed"}


def test_those_who_wait_for_one_that_cannot_be_made_do_not_try_it_each(pretended, trouble):
    saids = [Said() for _ in range(4)]
    with trouble(), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda said: require(pretended, said), saids)) == [None] * 4
    assert sorted(len(said.about(BOOTED)) for said in saids) == [0, 0, 0, 1]


def test_it_is_not_tried_for_every_job_but_again_after_a_while(pretended, trouble):
    with trouble():
        require(pretended)
    said = Said()
    assert (require(pretended, said), said.lines) == (None, [])
    past = time.time() - RETRY_SECONDS - 1
    os.utime(templates.home_of(pretended) / f"{pretended.key}.failed", (past, past))
    assert require(pretended, said)
    assert said.lines == [BOOTED]


def test_a_job_that_is_stopped_while_it_makes_one_is_stopped_and_leaves_no_verdict(pretended):
    @contextmanager
    def stopping(kill):
        kill()
        yield

    with pytest.raises(RunnerError):
        templates.require(pretended, Said().say, stopping)
    assert not list(templates.home_of(pretended).glob("*.failed"))


# --- with real machines ---------------------------------------------------------------------------


@pytest.mark.vm
def test_what_qemu_does_not_take_back_is_never_published(platform, tmp_path, monkeypatch):
    """What a pretended machine saves is no state that QEMU knows."""
    own = replace(platform, config=replace_in(platform.config, "snapshots", path=tmp_path))
    monkeypatch.setattr(vm, "boot", pretend_boot)
    said = Said()
    assert require(own, said) is None
    assert len(said.about("No snapshot of")) == 1
    assert snapshots.all_in(templates.home_of(own)) == []


@pytest.fixture(scope="module")
def small(host_config, platform, tmp_path_factory):
    """A configuration with small machines and snapshots of its own, and what makes it another
    process's: nobody has started a machine there yet."""
    path = tmp_path_factory.mktemp("small")
    (path / "config.ini").write_text(
        f"[DEFAULT]\nvar = {path}\n[images]\npath = {host_config.images.path}\n"
        f"[worker]\nmemory = 512MiB\ncpus = 2\naccelerator = {platform.hardware.accelerator}\n"
        "boot_timeout = 240s\n"
    )
    environ = {**os.environ, "BUILDSRHT_CONFIG": str(path / "config.ini"), "VAR": ""}
    return settings.load(environ), environ


# Tells of each moment at which it could be killed: waiting, and with a machine.
NEED_IT = """
from contextlib import contextmanager
from buildsrht import config
from worker import templates
from worker.machines import find_platform

@contextmanager
def guard(kill):
    print("may be stopped", flush=True)
    yield

def say(line):
    print(line, flush=True)

template = templates.require(find_platform(config.load(), "debian/trixie", "amd64"), say, guard)
print("found", template.made_at)
"""


def need_it(environ):
    return subprocess.Popen(
        [sys.executable, "-c", NEED_IT],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def killed(small):
    """Somebody was killed while the image booted; the processes that this took with it."""
    config, environ = small
    with need_it(environ) as builder:
        lines = iter(builder.stdout.readline, "")
        assert [next(lines).strip() for _ in range(3)] == [
            "may be stopped",
            BOOTED,
            "may be stopped",
        ]
        pids = janitor.pids_naming(f"{config.snapshots.path}/")
        assert pids
        builder.send_signal(signal.SIGKILL)
    return pids


@pytest.mark.vm
def test_one_that_was_half_made_by_somebody_who_was_killed_is_gone_after_one_sweep(
    small, killed, backend
):
    config, _ = small
    assert all(processes.has_ended(pid, wait_seconds=10) for pid in killed)
    home = config.snapshots.path / snapshots.TEMPLATES
    assert snapshots.all_in(home) == []
    janitor.sweep_host(replace(backend, config=config))
    [lock] = home.iterdir()
    with locked_patiently(lock, give_up=already()) as is_free:
        assert is_free


def already():
    event = threading.Event()
    event.set()
    return event


@pytest.mark.vm
def test_two_processes_that_need_one_at_once_make_it_once(small, killed):
    """After a third was killed while it made it."""
    config, environ = small
    builders = [need_it(environ) for _ in range(2)]
    said = [builder.communicate(timeout=280)[0].splitlines() for builder in builders]
    assert sum(BOOTED in lines for lines in said) == 1
    assert said[0][-1] == said[1][-1]
    [template] = snapshots.all_in(config.snapshots.path / snapshots.TEMPLATES)
    assert said[0][-1] == f"found {template.made_at}"
