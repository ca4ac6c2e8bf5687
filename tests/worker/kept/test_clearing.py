"""What the janitor makes of kept machines: whatever was killed, rows and files agree again."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from buildsrht.errors import Gone
from buildsrht.keys import Keys
from buildsrht.models import JobStatus, KeptMachine
from buildsrht.services import deletion, sealing
from buildsrht.services import kept as service
from tests.worker.fakes import perform, same_backend
from tests.worker.kept.fakes import keepable_boot
from worker import janitor
from worker.kept import frozen

DIE_WHILE_FREEZING = """
import os, signal, sys
from buildsrht import config
from buildsrht.backend import open_backend
from tests.worker.kept import fakes
from worker.kept.{module} import {name} as at
from tests.worker.fakes import perform

at.{method} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
perform(open_backend(config.load()), int(sys.argv[1]), fakes.keepable_boot)
"""


@pytest.fixture
def kept(backend, make_kept_job):
    job = make_kept_job("exit 1")
    perform(backend, job.id, keepable_boot)
    found = frozen.find(backend.config, job.id)
    assert found
    return found


def reason_of(backend, job_id=1):
    return service.find_machine(backend, job_id).reason


def test_what_is_kept_stays(backend, kept):
    janitor.sweep_host(backend)
    assert kept.state
    assert reason_of(backend) is None


def test_what_is_over_goes_and_the_database_says_why(backend, kept):
    made = kept.directory / frozen.MADE
    over = datetime.now(UTC) - timedelta(seconds=1)
    made.write_text(made.read_text().replace(kept.expires.isoformat(), over.isoformat()))
    janitor.sweep_host(backend)
    assert not kept.directory.exists()
    assert reason_of(backend) == "its time was over"


def test_what_is_over_while_somebody_looks_into_it_stays_until_he_is_gone(backend, kept):
    made = kept.directory / frozen.MADE
    over = datetime.now(UTC) - timedelta(seconds=1)
    made.write_text(made.read_text().replace(kept.expires.isoformat(), over.isoformat()))
    kept.own(os.getpid())
    janitor.sweep_host(backend)
    assert kept.state
    kept.disown()
    janitor.sweep_host(backend)
    assert not kept.directory.exists()


def test_one_whose_files_are_gone_is_ended(backend, kept):
    shutil.rmtree(kept.directory)
    janitor.sweep_host(backend)
    assert reason_of(backend) == "its files are gone"


def test_one_whose_description_is_spoilt_is_ended(backend, kept):
    (kept.directory / frozen.MADE).write_text("nonsense")
    janitor.sweep_host(backend)
    assert frozen.MADE in reason_of(backend)
    assert not kept.directory.exists()


def test_files_that_no_row_is_about_go(backend, kept):
    service.end_machine(backend, kept.job_id, "its owner left it")
    stray = backend.config.ssh.path / "4711"
    stray.mkdir()
    os.utime(stray, (0, 0))
    janitor.sweep_host(backend)
    assert frozen.all_kept(backend.config) == []
    assert reason_of(backend) == "its owner left it"


def test_the_machine_of_a_job_that_was_deleted_goes(backend, owner, kept):
    deletion.delete_job(backend, owner, kept.job_id)
    janitor.sweep_host(backend)
    assert frozen.all_kept(backend.config) == []
    with pytest.raises(Gone, match="its job was deleted"):
        service.open_key(backend, kept.job_id)


def test_somebody_who_looks_into_it_does_not_keep_it(backend, owner, kept):
    keeper = subprocess.Popen(["sleep", "300"])
    kept.own(keeper.pid)
    deletion.delete_job(backend, owner, kept.job_id)
    janitor.sweep_host(backend)
    assert keeper.wait(60) == -signal.SIGTERM
    janitor.sweep_host(backend)
    assert frozen.all_kept(backend.config) == []


def test_machines_of_another_host_are_none_of_ours(backend, kept):
    with backend.transaction() as session:
        session.execute(update(KeptMachine).values(runner="another-host"))
    shutil.rmtree(kept.directory)
    janitor.sweep_host(backend)
    assert reason_of(backend) is None


@pytest.mark.parametrize(
    ("module", "name", "method"),
    [
        ("keeping", "service", "record_machine"),
        ("keeping", "Promise", "keep"),
        ("frozen", "vault", "lock_up"),
        ("frozen", "Kept", "disown"),
    ],
)
def test_whenever_a_run_is_killed_nothing_is_promised_that_is_not_there(
    backend, make_kept_job, fetch, tmp_path, module, name, method
):
    job = make_kept_job("exit 1")
    program = DIE_WHILE_FREEZING.format(module=module, name=name, method=method)
    died = subprocess.run(
        [sys.executable, "-c", program, str(job.id)],
        env=same_backend(backend, tmp_path),
        timeout=60,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    janitor.sweep_host(backend)
    assert fetch(job.id).status == JobStatus.FAILED
    assert list(backend.config.worker.path.iterdir()) == []
    row = service.find_machine(backend, job.id)
    kept = frozen.find(backend.config, job.id)
    if method == "disown":
        assert row.ended is None
        assert kept.state
        assert not kept.is_owned
    else:
        assert kept is None
        assert row is None or row.reason == "the build host was stopped before it was frozen"
    assert (row is None) == (method == "record_machine")


def test_a_rotation_of_the_services_keys_loses_no_machine(backend, kept, tmp_path):
    directory = tmp_path / "keys"
    shutil.copytree(backend.config.keys.path, directory)
    config = replace(backend.config, keys=replace(backend.config.keys, path=directory))
    rotated = replace(backend, config=config, keys=Keys(directory))
    before = service.open_key(rotated, kept.job_id)
    sealing.begin_rotation(rotated)
    sealing.finish_rotation(rotated)
    assert service.open_key(rotated, kept.job_id) == before


def test_the_key_of_a_machine_goes_with_it(backend, kept):
    service.end_machine(backend, kept.job_id, "its owner left it")
    assert service.find_machine(backend, kept.job_id).sealed_key is None
    with pytest.raises(Gone, match="its owner left it"):
        service.open_key(backend, kept.job_id)
