"""What a manifest installs is installed once, and kept for those who ask for the same.

The fast tests pretend the machines; what a pretended machine remembers is what was installed in it.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from buildsrht import processes
from buildsrht.models import JobStatus
from tests.worker.conftest import replace_in
from tests.worker.fakes import perform
from tests.worker.outcome import outcome_of
from tests.worker.saved import (
    Said,
    copy_snapshot,
    overwrite,
    overwrite_secretly,
    pretend,
    small_disk,
    wanted,
)
from worker import janitor, machines, snapshots, templates
from worker.directories import locked
from worker.errors import RunnerError
from worker.packages import JobFailed
from worker.snapshots import LAYERS, TEMPLATES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """A host on which machines are pretended."""
    return pretend(monkeypatch, tmp_path)


@pytest.fixture
def start(pretended, tmp_path):
    """Start a machine for a job with these manifest keys, and end it. Returns whether it came with
    its packages, what is in it, and what was said."""
    numbers = iter(range(1000))

    def start(config=pretended, **manifest):
        said = Said()
        directory = tmp_path / f"run-{next(numbers)}"
        with machines.start(wanted(config, directory, said, **manifest)) as machine:
            return machine.has_packages, machine.vm.memory.read_text().split()[1::2], said

    return start


def all_layers(config):
    return snapshots.all_in(config.snapshots.path / LAYERS)


def all_templates(config):
    return snapshots.all_in(config.snapshots.path / TEMPLATES)


# --- what is told of it ---------------------------------------------------------------------------


def test_who_wants_one_is_told_while_packages_are_installed(pretended, tmp_path):
    told = []
    asked = replace(wanted(pretended, tmp_path / "run", packages=["gcc"]), begin=told.append)
    with machines.start(asked):
        assert told == ["packages", "starting"]


def test_who_installs_nothing_is_told_nothing(pretended, tmp_path):
    told = []
    with machines.start(replace(wanted(pretended, tmp_path / "run"), begin=told.append)):
        assert told == []


# --- who gets one ---------------------------------------------------------------------------------


def test_the_first_job_installs_and_those_after_it_find_everything_installed(start):
    first, second = start(packages=["gcc", "make"]), start(packages=["gcc", "make"])
    in_it = ["gcc", "make"]
    assert [each[:2] for each in (first, second)] == [(True, in_it)] * 2
    assert b"installed gcc" in first[2].output
    assert second[2].output == b""


def test_the_log_names_the_layer_its_age_and_how_to_refuse_it(start, pretended):
    start(packages=["gcc"])
    [layer] = all_layers(pretended)
    [line] = start(packages=["gcc"])[2].lines
    made = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(layer.made_at))
    assert f"the layer {layer.key}, made at {made}" in line
    assert "`layers: false` in the manifest" in line


def test_a_job_that_installs_nothing_gets_none(start, pretended):
    assert start()[0] is False
    assert all_layers(pretended) == []


def test_a_manifest_may_refuse_it_though_it_is_there(start):
    start(packages=["gcc"])
    assert start(packages=["gcc"], layers=False)[:2] == (False, [])


def test_an_operator_may_refuse_them_all(start, pretended):
    without = replace_in(pretended, "snapshots", layers=False)
    assert start(without, packages=["gcc"])[:2] == (False, [])
    assert all_layers(pretended) == []


def test_an_operator_may_refuse_every_snapshot(start, pretended):
    without = replace_in(pretended, "snapshots", enabled=False)
    assert start(without, packages=["gcc"])[:2] == (False, [])
    assert not pretended.snapshots.path.exists()


def test_jobs_that_ask_for_the_same_at_once_install_it_once(start, pretended):
    start()
    with ThreadPoolExecutor(4) as pool:
        started = list(pool.map(lambda _: start(packages=["gcc"]), range(4)))
    assert [each[:2] for each in started] == [(True, ["gcc"])] * 4
    assert sum(b"installed gcc" in said.output for _, _, said in started) == 1


# --- what is the same -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        {"packages": ["make", "gcc"]},
        {"packages": ["gcc", "make", "gcc"]},
        {"packages": ["gcc", "make"], "environment": {"A": "b"}, "tasks": [{"other": "false"}]},
    ],
)
def test_order_repetition_and_what_is_not_installed_make_no_difference(start, pretended, same):
    start(packages=["gcc", "make"])
    assert start(**same)[2].output == b""
    assert len(all_layers(pretended)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"packages": ["gcc"]},
        {"packages": ["gcc", "make", "tree"]},
        {"packages": ["gcc", "make"], "repositories": {"extra": "url trixie main"}},
    ],
)
def test_other_packages_or_repositories_are_another_layer(start, pretended, other):
    start(packages=["gcc", "make"])
    start(**other)
    assert len(all_layers(pretended)) == 2


def test_the_order_of_repositories_is_part_of_what_they_are(start, pretended):
    """The later of two may replace what the earlier has set up."""
    one, two = ("one", "url trixie main"), ("two", "url trixie main")
    start(repositories=dict([one, two]))
    start(repositories=dict([two, one]))
    assert len(all_layers(pretended)) == 2


def test_a_password_in_a_repository_s_address_is_not_written_down(start, pretended):
    start(repositories={"private": "https://me:hunter2@example.org/ trixie main"})
    [layer] = all_layers(pretended)
    assert "hunter2" not in (layer.directory / snapshots.MADE).read_text()


# --- on top of another ----------------------------------------------------------------------------


def test_more_packages_are_installed_on_top_of_the_layer_with_most_of_them(start, pretended):
    start(packages=["gcc"])
    start(packages=["gcc", "make"])
    start(packages=["tree"])
    in_it = start(packages=["gcc", "make", "tree"])[1]
    assert in_it == ["gcc", *("gcc", "make"), *("gcc", "make", "tree")]


def test_it_is_as_old_as_the_oldest_that_is_in_it(start, pretended):
    start(packages=["gcc"])
    start(packages=["gcc", "make"])
    assert len({layer.made_at for layer in all_layers(pretended)}) == 1


def test_a_damaged_layer_is_nothing_to_install_on_top_of(start, pretended):
    start(packages=["gcc"])
    overwrite(all_layers(pretended)[0].memory, b"x")
    assert start(packages=["gcc", "make"])[1] == ["gcc", "make"]


# --- when it is not used --------------------------------------------------------------------------


def test_one_whose_time_is_over_is_made_anew(start, pretended):
    start(packages=["gcc"])
    short = replace_in(pretended, "snapshots", layer_lifetime=0)
    assert b"installed gcc" in start(short, packages=["gcc"])[2].output


def test_one_that_is_damaged_is_said_to_be_and_made_anew(start, pretended):
    start(packages=["gcc"])
    [layer] = all_layers(pretended)
    overwrite(layer.state, b"x")
    has_packages, in_it, said = start(packages=["gcc"])
    assert (has_packages, in_it) == (True, ["gcc"])
    assert said.about("not what was saved") == [
        f"state of snapshot {layer.key} is not what was saved: it is made anew."
    ]


def test_a_template_that_was_made_anew_keeps_its_layers(start, pretended):
    """Both are of the same image on the same hardware."""
    start(packages=["gcc"])
    [template] = all_templates(pretended)
    snapshots.drop(template.directory.parent, template.key)
    assert start(packages=["gcc"])[2].output == b""


# --- when it cannot be made -----------------------------------------------------------------------


def test_an_installation_that_fails_fails_the_job_and_leaves_no_layer(start, pretended):
    with pytest.raises(JobFailed, match="packages: exit status 100"):
        start(packages=["gcc", "no-such-package"])
    assert all_layers(pretended) == []
    assert not list((pretended.snapshots.path / LAYERS).glob(f"{snapshots.BUILDING}*"))


def test_a_repository_that_cannot_be_added_fails_the_job_too(start, pretended):
    with pytest.raises(JobFailed, match="repository broken: exit status 1"):
        start(repositories={"broken": "bad"})
    assert all_layers(pretended) == []


def test_where_it_cannot_be_kept_the_job_installs_in_its_own_machine(start, pretended, monkeypatch):
    start()

    def publish(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots, "publish", publish)
    has_packages, in_it, said = start(packages=["gcc"])
    assert (has_packages, in_it) == (False, [])
    assert said.about("could not be kept") == [
        "The packages could not be kept as a layer: [Errno 28] No space left on device"
    ]


def test_a_job_that_is_stopped_waits_no_longer_for_a_layer_that_another_makes(
    start, pretended, tmp_path
):
    start(packages=["gcc"])
    [layer] = all_layers(pretended)
    home = layer.directory.parent
    snapshots.drop(home, layer.key)

    @contextmanager
    def stopping(kill):
        kill()
        yield

    want = wanted(pretended, tmp_path / "waits", guard=stopping, packages=["gcc"])
    with (
        locked(home / f"{layer.key}.lock"),
        pytest.raises(RunnerError, match="stopped while it waited"),
        machines.start(want),
    ):
        pass


# --- with real machines ---------------------------------------------------------------------------


REPOSITORY = "http://packages.invalid trixie main"


@pytest.fixture(scope="module")
def real(host_config, platform, tmp_path_factory):
    """This host's configuration, with snapshots of its own: a template, and no layer."""
    path = tmp_path_factory.mktemp("layers")
    copy_snapshot(templates.require(platform, print), path / TEMPLATES)
    return replace_in(host_config, "snapshots", path=path)


@pytest.fixture
def start_real(real, tmp_path):
    numbers = iter(range(1000))

    @contextmanager
    def start(config=real, **manifest):
        said = Said()
        with machines.start(
            wanted(config, tmp_path / f"run-{next(numbers)}", said, **manifest)
        ) as machine:
            yield machine, said

    return start


def run(machine, script):
    output = []
    assert machine.guest.run(["bash", "-c", script], output.append) == 0, output
    return b"".join(output).decode()


@pytest.mark.vm
def test_what_a_layer_brings_runs_and_only_the_rest_is_installed_on_top(real, start_real):
    with start_real(packages=["hello"]) as (machine, said):
        assert machine.has_packages
        assert b"Unpacking hello" in said.output
        assert "Hello, world!" in run(machine, "hello")
    with start_real(packages=["hello", "tree"]) as (machine, said):
        assert b"hello is already the newest version" in said.output
        assert b"Unpacking tree" in said.output
        assert b"Unpacking hello" not in said.output
        assert "Hello, world!" in run(machine, "hello && tree --version")
    small, large = sorted(all_layers(real), key=lambda each: len(each.made["packages"]))
    assert [len(small.disks), len(large.disks)] == [2, 3]
    assert os.path.samefile(small.disks[1], large.disks[1])
    with start_real(packages=["hello"]) as (machine, said):
        assert said.output == b""
        assert "Hello, world!" in run(machine, "hello")


@pytest.mark.vm
def test_a_layer_holds_nothing_of_the_job_that_asked_for_it_first(
    real, backend, make_user, make_job
):
    """Not its environment, its tasks, its sources or its owner; in its own machine they are."""
    config = replace(
        backend.config, images=real.images, snapshots=real.snapshots, network=real.network
    )
    backend = replace(backend, config=config)
    text = json.dumps(
        {
            "image": "debian/trixie",
            "repositories": {"marked-repository": REPOSITORY},
            "environment": {"SECRET": "marked-environment"},
            "tasks": [{"marked-task": "echo $SECRET marked-script"}],
        }
    )
    job = make_job(user=make_user("marked-owner"), manifest=text)
    before = {layer.key for layer in all_layers(real)}
    perform(backend, job.id, machines.start)
    outcome = outcome_of(backend, job.id)
    assert outcome.status == JobStatus.SUCCESS, outcome
    assert "marked-environment marked-script" in outcome.logs["marked-task"]
    [layer] = [layer for layer in all_layers(real) if layer.key not in before]
    assert holds(layer, b"marked-repository"), "or the search is blind"
    for secret in (b"marked-environment", b"marked-task", b"marked-script", b"marked-owner"):
        assert not holds(layer, secret)


def holds(snapshot, text):
    return any(holds_file(path, text) for path in snapshot.directory.iterdir())


def holds_file(path, text):
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        return content.find(text) >= 0


@pytest.mark.vm
def test_one_that_does_not_come_back_to_life_is_installed_once_more(real, start_real):
    """Damage that only QEMU notices: this job installs by itself, the next one makes it anew."""
    before = {layer.key for layer in all_layers(real)}
    manifest = {"repositories": {"damaged": REPOSITORY}}
    with start_real(**manifest) as (machine, _):
        assert machine.has_packages
    [layer] = [layer for layer in all_layers(real) if layer.key not in before]
    overwrite_secretly(layer.state)
    with start_real(**manifest) as (machine, said):
        assert not machine.has_packages
        assert run(machine, "echo works") == "works\n"
        assert len(said.about("The next job makes it anew")) == 1
    assert layer.key not in {each.key for each in all_layers(real)}
    with start_real(**manifest) as (machine, said):
        assert machine.has_packages
        assert said.about("anew", "could not") == []
        assert "packages.invalid" in run(machine, "cat /etc/apt/sources.list.d/damaged.list")


@pytest.mark.vm
def test_a_disk_that_is_full_keeps_a_layer_from_being_made_and_no_job_from_running(
    real, start_real, tmp_path
):
    path = tmp_path / "snapshots"
    with small_disk(path, "320m"):
        copy_snapshot(all_templates(real)[0], path / TEMPLATES)
        full = replace_in(real, "snapshots", path=path)
        with start_real(full, repositories={"any": REPOSITORY}) as (machine, said):
            assert not machine.has_packages
            assert run(machine, "echo works") == "works\n"
        [line] = said.about("could not be kept")
        assert "No space left on device" in line
        assert [each.suffix for each in (path / LAYERS).iterdir()] == [".lock"]


ASK_FOR_ONE = """
import sys
from contextlib import contextmanager
from pathlib import Path
from buildsrht import config
from tests.worker.saved import Said, wanted
from worker import machines

@contextmanager
def guard(kill):
    print("may be stopped", flush=True)
    yield

want = wanted(config.load(), Path(sys.argv[1]), guard=guard, repositories={"killed": sys.argv[2]})
with machines.start(want):
    pass
"""


@pytest.mark.vm
def test_one_that_was_half_made_by_somebody_who_was_killed_is_in_nobody_s_way(
    real, start_real, backend, tmp_path
):
    (tmp_path / "config.ini").write_text(
        f"[DEFAULT]\nvar = {tmp_path}\n[images]\npath = {real.images.path}\n"
        f"[snapshots]\npath = {real.snapshots.path}\n"
    )
    command = [sys.executable, "-c", ASK_FOR_ONE, str(tmp_path / "killed"), REPOSITORY]
    environ = {**os.environ, "BUILDSRHT_CONFIG": str(tmp_path / "config.ini"), "VAR": ""}
    home = real.snapshots.path / LAYERS
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as builder:
        # Of its wait for the lock, then of its machine.
        for _ in range(2):
            assert builder.stdout.readline() == b"may be stopped\n"
        pids = janitor.pids_naming(f"{home}/")
        assert pids
        builder.send_signal(signal.SIGKILL)
    assert all(processes.has_ended(pid, wait_seconds=10) for pid in pids)
    assert list(home.glob(f"{snapshots.BUILDING}*"))
    janitor.sweep_host(replace(backend, config=replace(backend.config, snapshots=real.snapshots)))
    assert not list(home.glob(f"{snapshots.BUILDING}*"))
    with start_real(repositories={"killed": REPOSITORY}) as (machine, said):
        assert machine.has_packages
        assert said.about("could not", "anew") == []
