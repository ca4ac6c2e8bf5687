"""The end of a job whose machine is kept, and of one whose machine is not."""

import os
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from buildsrht.keys import Keys
from buildsrht.models import JobStatus
from buildsrht.services import jobs
from buildsrht.services import kept as service
from tests.worker.fakes import fake_boot, perform
from tests.worker.kept.fakes import MEMORY, keepable_boot
from tests.worker.outcome import assert_nothing_is_left, outcome_of
from worker.errors import MonitorError
from worker.kept import frozen, keeping, vault
from worker.packages import JobFailed

CONNECT = "connect {}\n"


@pytest.fixture
def run(backend, make_kept_job):
    """Run a job with this script to its end; its outcome, and the machine that was kept."""

    def perform_job(script="exit 3", backend=backend, boot=keepable_boot, **keys):
        job = make_kept_job(script, **keys)
        perform(backend, job.id, boot)
        assert_nothing_is_left(backend)
        return outcome_of(backend, job.id), frozen.find(backend.config, job.id)

    return perform_job


def with_ssh(backend, **options):
    return replace(
        backend, config=replace(backend.config, ssh=replace(backend.config.ssh, **options))
    )


# --- whose machine is kept ------------------------------------------------------------------------


def test_the_machine_of_a_failed_job_is_kept_and_its_log_ends_with_the_way_in(run, backend):
    outcome, kept = run("echo working >file; exit 3")
    assert outcome.status == JobStatus.FAILED
    assert outcome.setup_log.endswith(
        "task build: exit status 3\n\nThe machine is kept for 24 hours. The owner of the job gets"
        f" into it by:\nssh -p {backend.config.ssh.port} -t builds@127.0.0.1 connect 1\n"
    )
    row = service.find_machine(backend, 1)
    assert (row.runner, row.ended) == (backend.config.worker.name, None)
    assert timedelta(hours=23) < row.expires - datetime.now(UTC) <= timedelta(hours=24)
    assert kept.state
    assert not kept.is_owned


def test_a_job_that_asks_for_a_shell_keeps_it_when_it_succeeds(run):
    outcome, kept = run("true", shell=True)
    assert outcome.status == JobStatus.SUCCESS
    assert outcome.setup_log.endswith(CONNECT.format(1))
    assert kept.state


def test_a_job_that_succeeds_and_asks_for_none_keeps_nothing(run, backend):
    outcome, kept = run("true")
    assert outcome.status == JobStatus.SUCCESS
    assert "connect" not in outcome.setup_log
    assert (kept, service.find_machine(backend, 1)) == (None, None)


def test_a_package_that_cannot_be_installed_keeps_it_too(run):
    outcome, kept = run("true", packages=["no-such-package"])
    assert outcome.status == JobStatus.FAILED
    assert kept.state


@pytest.mark.parametrize(
    "script",
    ["kill -9 $PPID", "kill -TERM $PPID; sleep 60"],
    ids=["lost", "shut down"],
)
def test_a_machine_that_is_gone_is_not_kept(run, backend, script):
    outcome, kept = run(script)
    assert outcome.status == JobStatus.FAILED
    assert "connect" not in outcome.setup_log
    assert (kept, service.find_machine(backend, 1)) == (None, None)


def test_a_job_that_wrote_too_much_keeps_nothing_as_its_guest_is_not_done(run, backend):
    limits = replace(backend.config.limits, log=4096)
    small = replace(backend, config=replace(backend.config, limits=limits))
    outcome, kept = run("yes", backend=small)
    assert outcome.status == JobStatus.FAILED
    assert kept is None


def test_a_job_that_runs_into_its_time_limit_keeps_nothing(run, backend):
    worker = replace(backend.config.worker, job_timeout=1)
    short = replace(backend, config=replace(backend.config, worker=worker))
    outcome, kept = run("sleep 60", backend=short, shell=True)
    assert outcome.status == JobStatus.TIMEOUT
    assert kept is None


def test_a_failure_in_another_machine_than_its_own_keeps_nothing_and_says_how_it_would(run):
    @contextmanager
    def boot(wanted):
        raise JobFailed("packages: exit status 100")
        yield

    outcome, kept = run(boot=boot)
    assert "packages: exit status 100\n\nNo machine is kept, as that was not the job's own" in (
        outcome.setup_log
    )
    assert kept is None


def test_a_machine_that_cannot_be_kept_is_not_spoken_of(run, backend):
    outcome, kept = run(boot=fake_boot)
    assert outcome.setup_log.endswith("task build: exit status 3\n")
    assert (kept, service.find_machine(backend, 1)) == (None, None)


# --- what is in the way is said before ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"size": 2**20}, "kept machines take up 0 MiB here, of 1 that they may"),
        ({"path": Path(__file__) / "no" / "directory"}, "Not a directory"),
    ],
)
def test_where_there_is_no_place_for_it_the_log_says_so(run, backend, options, reason):
    outcome, kept = run(backend=with_ssh(backend, **options))
    assert outcome.status == JobStatus.FAILED
    assert "\n\nThe machine is not kept: " in outcome.setup_log
    assert reason in outcome.setup_log
    assert "connect" not in outcome.setup_log
    assert (kept, service.find_machine(backend, 1)) == (None, None)


def test_what_is_kept_already_counts(run, backend):
    _, first = run("head -c 3000000 /dev/urandom >file; exit 1")
    need = first.size() + 2 * 2**20 - 1
    outcome, second = run(backend=with_ssh(backend, size=need))
    assert second is None
    assert "kept machines take up 2 MiB here, of 4" in outcome.setup_log


def test_a_disk_that_is_short_is_left_alone(run, backend):
    worker = replace(backend.config.worker, disk_reserve=2**60)
    full = replace(backend, config=replace(backend.config, worker=worker))
    outcome, kept = run(backend=full)
    assert "The machine is not kept: the disk of this build host is short." in outcome.setup_log
    assert kept is None


def test_without_a_key_to_lock_it_up_nothing_is_kept(run, backend, tmp_path):
    outcome, kept = run(backend=replace(backend, keys=Keys(tmp_path / "no-keys")))
    assert "`buildsrht keys init` makes it." in outcome.setup_log
    assert kept is None


def test_an_image_from_before_there_were_sessions_is_told(run, monkeypatch):
    monkeypatch.setattr("worker.guest.SESSIONS_SINCE", 99)
    outcome, kept = run()
    assert "The machine is not kept: its image was built before that was possible." in (
        outcome.setup_log
    )
    assert kept is None


def test_a_layer_that_was_dropped_meanwhile_is_noticed_before_anything_is_promised(run):
    @contextmanager
    def boot(wanted):
        with keepable_boot(wanted) as machine:
            machine.body.disks[0].unlink()
            yield machine

    outcome, kept = run(boot=boot)
    assert "The machine is not kept: " in outcome.setup_log
    assert "layer.qcow2" in outcome.setup_log
    assert kept is None


# --- what is kept ---------------------------------------------------------------------------------


def test_neither_memory_nor_disk_nor_key_can_be_read_and_nobody_else_may_try(run, backend):
    mark = os.urandom(12).hex()
    _, kept = run(f"echo {mark} >file; exit 1")
    for path in [path for path in kept.directory.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        assert mark.encode() not in content
        assert MEMORY[:100] not in content
        assert service.open_key(backend, kept.job_id) not in content
    assert kept.directory.parent.stat().st_mode & 0o077 == 0


def test_what_it_shares_with_others_stays_when_they_drop_it(run, backend):
    _, kept = run()
    body = kept.body
    # The fake machine's image and layer went with its run.
    assert body.image.disk.read_bytes() == b"the image's disk"
    assert [disk.read_bytes() for disk in body.disks] == [b"what lies over it"]
    assert (body.image.name, body.image.arch) == ("debian/trixie", "amd64")
    assert body.image.cmdline == "root=/dev/vda"
    assert body.kernel.read_bytes() == b"kernel"


def test_on_another_file_system_it_is_copied(run, backend, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    _, kept = run()
    assert kept.body.image.disk.read_bytes() == b"the image's disk"


# --- how a promise ends otherwise -----------------------------------------------------------------


def broken_boot(error):
    @contextmanager
    def boot(wanted):
        with keepable_boot(wanted) as machine:
            machine.broken = error
            yield machine

    return boot


def test_a_machine_that_cannot_be_frozen_is_gone_with_the_reason_and_its_job_is_not_touched(
    run, backend
):
    outcome, kept = run(boot=broken_boot(MonitorError("QEMU did not save the machine")))
    assert outcome.status == JobStatus.FAILED
    row = service.find_machine(backend, 1)
    assert row.reason == "it could not be frozen: QEMU did not save the machine"
    assert row.ended
    assert kept is None


def test_a_disk_that_runs_full_while_it_is_frozen_is_the_reason_that_is_given(
    run, backend, monkeypatch
):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vault, "_read_piece", no_space)
    _, kept = run()
    assert "No space left on device" in service.find_machine(backend, 1).reason
    assert kept is None


def test_a_job_that_is_cancelled_after_its_steps_keeps_nothing(run, backend, owner, monkeypatch):
    promised = keeping.promise

    def cancel_then(*arguments):
        promise = promised(*arguments)
        jobs.cancel(backend, 1, owner)
        return promise

    monkeypatch.setattr(keeping, "promise", cancel_then)
    outcome, kept = run()
    assert outcome.status == JobStatus.CANCELLED
    assert service.find_machine(backend, 1).reason == "its job ended otherwise"
    assert kept is None


def test_its_job_is_over_for_everybody_before_it_is_frozen(run, backend, fetch):
    seen = []

    @contextmanager
    def boot(wanted):
        with keepable_boot(wanted) as machine:
            freeze = machine.freeze

            def look_and_freeze(sink):
                outcome = outcome_of(backend, 1)
                seen.append((fetch(1).status, outcome.setup_log[-10:]))
                freeze(sink)

            machine.freeze = look_and_freeze
            yield machine

    run(boot=boot)
    assert seen == [(JobStatus.FAILED, "connect 1\n")]


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "command"),
    [
        (22, "ssh -t builds@host.example connect 12"),
        (5022, "ssh -p 5022 -t builds@host.example connect 12"),
    ],
)
def test_the_command_names_the_port_if_it_is_not_the_usual_one(config, port, command):
    ssh = replace(config.ssh, port=port, name="host.example")
    assert service.connect_command(ssh, 12) == command
